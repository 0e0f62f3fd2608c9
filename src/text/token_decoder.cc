#include "text/token_decoder.h"

#include <charconv>
#include <string_view>
#include <utility>

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

void ReplaceAll(std::string_view from, std::string_view to, std::string& text) {
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

void CleanUp(std::string& token) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
  };
  for (const auto& [from, to] : kRules) ReplaceAll(from, to, token);
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
    ReplaceAll(step.prefix, i == 0 && step.cleanup ? "" : " ", tokens[i]);
  }
}

// The byte of "<0x41>", -1 for another token.
int FallbackByte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int byte = 0;
  const auto [stop, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  return error == std::errc() && stop == token.data() + 5 ? byte : -1;
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

void Strip(const DecoderStep& step, std::string& token) {
  for (idx_t i = 0; i < step.start && token.starts_with(step.prefix); ++i) {
    token.erase(0, step.prefix.size());
  }
  for (idx_t i = 0; i < step.stop && token.ends_with(step.prefix); ++i) {
    token.erase(token.size() - step.prefix.size());
  }
}

}  // namespace

std::string TokenDecoder::Join(std::vector<std::string> tokens) const {
  for (const DecoderStep& step : steps_) {
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
        for (std::string& token : tokens) ReplaceAll(step.prefix, step.content, token);
        break;
      case DecoderStep::Kind::kStrip:
        for (std::string& token : tokens) Strip(step, token);
        break;
    }
  }
  return Fuse(tokens, steps_.empty() ? " " : "");
}

}  // namespace longspan::text
