#include "text/token_decoder.h"

#include <charconv>
#include <cstdint>
#include <string_view>
#include <utility>

#include "text/growth.h"
#include "text/literal_search.h"
#include "text/subword_model.h"
#include "text/unicode.h"

namespace longspan::text {
namespace {

std::string Fuse(const std::vector<std::string>& tokens, std::string_view between) {
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += between;
    text += tokens[i];
  }
  return text;
}

// A token with a character that stands for no byte (an added one) is taken as it is.
void AppendBytes(const std::string& token, std::string& bytes) {
  const std::size_t before = bytes.size();
  std::vector<idx_t> starts;
  for (const Glyph& g : DecodeUtf8(token, starts)) {
    const int byte = ByteOfCharacter(g.c);
    if (byte < 0) {
      bytes.resize(before);
      bytes += token;
      return;
    }
    bytes += static_cast<char>(static_cast<unsigned char>(byte));
  }
}

// Stops once there are more than `most` bytes.
void ReplaceAll(std::string_view from, std::string_view to, std::size_t most, std::string& text) {
  std::size_t found = FindText(text, from, 0);
  if (found == text.npos) return;
  std::string result;
  std::size_t at = 0;
  for (; found != text.npos && result.size() <= most; found = FindText(text, from, at)) {
    result.append(text, at, found - at);
    result += to;
    at = found + from.size();
  }
  text = result.append(text, at);
}

void CleanUp(std::string& token) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kRules) ReplaceAll(from, to, SIZE_MAX, token);
}

void Spaced(const DecoderStep& step, std::vector<std::string>& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::string& token = tokens[i];
    if (i > 0 && token.starts_with(step.prefix)) {
      token.erase(0, step.prefix.size());
    } else if (i > 0) {
      token.insert(token.begin(), ' ');
    }
    if (step.cleanup) CleanUp(token);
  }
}

void Metaspace(const DecoderStep& step, std::vector<std::string>& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    ReplaceAll(step.prefix, i == 0 && step.cleanup ? "" : " ", SIZE_MAX, tokens[i]);
  }
}

// The byte of "<0x41>", -1 for another token.
int FallbackByte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  unsigned byte = 0;  // no sign is read: <0x-1> is a token like any other
  const auto [stop, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  return error == std::errc() && stop == token.data() + 5 ? static_cast<int>(byte) : -1;
}

std::vector<std::string> ByteFallback(const std::vector<std::string>& tokens) {
  std::vector<std::string> result;
  std::string bytes;
  const auto flush = [&] {
    if (ReplaceInvalid(bytes) == bytes) {
      result.push_back(bytes);
    } else {
      result.insert(result.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    const int byte = FallbackByte(token);
    if (byte >= 0) {
      bytes += static_cast<char>(static_cast<unsigned char>(byte));
      continue;
    }
    if (!bytes.empty()) flush();
    result.push_back(token);
  }
  if (!bytes.empty()) flush();
  return result;
}

void Replace(const DecoderStep& step, std::size_t room, std::vector<std::string>& tokens) {
  for (std::string& token : tokens) {
    ReplaceAll(step.prefix, step.content, room, token);
    if (token.size() > room) return;
    room -= token.size();
  }
}

void Strip(const DecoderStep& step, std::string& token) {
  std::string_view rest = token;
  for (idx_t i = 0; i < step.start && rest.starts_with(step.prefix); ++i) {
    rest.remove_prefix(step.prefix.size());
  }
  for (idx_t i = 0; i < step.stop && rest.ends_with(step.prefix); ++i) {
    rest.remove_suffix(step.prefix.size());
  }
  if (rest.size() < token.size()) token = std::string(rest);
}

std::size_t BytesOf(const std::vector<std::string>& tokens) {
  std::size_t bytes = 0;
  for (const std::string& token : tokens) bytes += token.size();
  return bytes;
}

std::string_view NameOf(DecoderStep::Kind kind) {
  switch (kind) {
    case DecoderStep::Kind::kByteLevel:
      return "ByteLevel";
    case DecoderStep::Kind::kWordPiece:
      return "WordPiece";
    case DecoderStep::Kind::kFuse:
      return "Fuse";
    case DecoderStep::Kind::kMetaspace:
      return "Metaspace";
    case DecoderStep::Kind::kByteFallback:
      return "ByteFallback";
    case DecoderStep::Kind::kReplace:
      return "Replace";
    case DecoderStep::Kind::kStrip:
      return "Strip";
  }
  return "";
}

}  // namespace

void TokenDecoder::Do(const DecoderStep& step, std::size_t room, std::vector<std::string>& tokens) {
  switch (step.kind) {
    case DecoderStep::Kind::kByteLevel: {
      std::string bytes;
      for (const std::string& token : tokens) AppendBytes(token, bytes);
      tokens = {ReplaceInvalid(bytes)};
      break;
    }
    case DecoderStep::Kind::kWordPiece:
      Spaced(step, tokens);
      break;
    case DecoderStep::Kind::kFuse:
      tokens = {Fuse(tokens, "")};
      break;
    case DecoderStep::Kind::kMetaspace:
      Metaspace(step, tokens);
      break;
    case DecoderStep::Kind::kByteFallback:
      tokens = ByteFallback(tokens);
      break;
    case DecoderStep::Kind::kReplace:
      Replace(step, room, tokens);
      break;
    case DecoderStep::Kind::kStrip:
      for (std::string& token : tokens) Strip(step, token);
      break;
  }
}

// A step beside Replace makes at most three bytes of one and one of each token, so that what it
// makes is measured behind it.
std::string TokenDecoder::Join(std::vector<std::string> tokens) const {
  const Growth growth(BytesOf(tokens) + tokens.size(), "bytes");
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    Do(steps_[i], growth.room(), tokens);
    growth.Hold(BytesOf(tokens), "decoder", i, NameOf(steps_[i].kind));
  }
  return Fuse(tokens, steps_.empty() ? " " : "");
}

}  // namespace longspan::text
