#include "cli/generated_text.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/errors.h"
#include "text/bytes_tokenizer.h"
#include "text/unicode.h"

namespace longspan::cli {
namespace {

// Tokens of the prompt that are spelt together with the first new ones.
constexpr std::size_t kPromptTokens = 6;
constexpr std::string_view kReplacement =
    "\xEF\xBF\xBD";  // U+FFFD: of a character that is not whole

// Bytes at the end that may be the beginning of a character.
std::size_t UnfinishedBytes(std::string_view text) {
  for (std::size_t n = 1; n <= std::min<std::size_t>(3, text.size()); ++n) {
    const auto byte = static_cast<unsigned char>(text[text.size() - n]);
    if ((byte & 0xC0) == 0x80) continue;  // goes on with a character
    const std::size_t needs = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC2 ? 2 : 1;
    return needs > n && byte < 0xF5 ? n : 0;
  }
  return 0;
}

std::string WithoutControls(const std::string& text) {
  std::string shown;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool drives = (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7F;
    if (drives) {
      shown += kReplacement;
    } else {
      shown += c;
    }
  }
  return shown;
}

std::size_t Longest(const std::vector<std::string>& stops) {
  std::size_t longest = 0;
  for (const std::string& stop : stops) longest = std::max(longest, stop.size());
  return longest;
}

}  // namespace

GeneratedText::GeneratedText(const text::Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
                             std::vector<std::string> stops)
    : tokenizer_(tokenizer), bytes_(tokenizer.kind() == "bytes"), stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    Check(!stop.empty(), ErrorCode::kUsage, "stop: a stop string is empty");
  }
  const auto before = prompt.last(std::min(prompt.size(), kPromptTokens));
  ids_.assign(before.begin(), before.end());
  read_ = ids_.size();
}

std::string GeneratedText::Add(std::int32_t id) {
  if (stopped_) return "";
  ids_.push_back(id);
  const std::size_t from = text_.size();
  text_ += NextPiece(false);
  FindStop(from);
  if (stopped_) return Show(text_.size());
  // The longest end that a stop string begins with waits for what follows.
  std::size_t held = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t n = std::min(stop.size() - 1, text_.size()); n > held; --n) {
      if (std::string_view(text_).ends_with(std::string_view(stop).substr(0, n))) held = n;
    }
  }
  return Show(text_.size() - held);
}

std::string GeneratedText::Finish() {
  if (!stopped_) {
    const std::size_t from = text_.size();
    text_ += NextPiece(true);
    FindStop(from);
  }
  return Show(text_.size());
}

// What the tokens behind read_ add to the text; nothing while a character lacks bytes, unless they
// are the last.
std::string GeneratedText::NextPiece(bool last) {
  const std::span<const std::int32_t> ids = std::span(ids_).subspan(prefix_);
  const std::span<const std::int32_t> known = ids.first(read_ - prefix_);
  if (known.size() == ids.size()) return "";
  std::string piece;
  if (bytes_) {
    piece = text::BytesTokenizer::Decode(ids.subspan(known.size()));
    prefix_ = ids_.size();
  } else {
    const std::string before = tokenizer_.Decode(known, true), all = tokenizer_.Decode(ids, true);
    if (all.size() <= before.size()) return "";
    if (!last && std::string_view(all).ends_with(kReplacement)) return "";
    piece = all.substr(before.size());
    prefix_ = read_;
  }
  read_ = ids_.size();
  return piece;
}

// Looks for the first stop string that ends behind `new_from`, and cuts the text before it.
void GeneratedText::FindStop(std::size_t new_from) {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t from = new_from - std::min(new_from, stop.size() - 1);
    first = std::min(first, text_.find(stop, from));
  }
  if (first == std::string::npos) return;
  text_.resize(first);
  stopped_ = true;
}

std::string GeneratedText::Show(std::size_t end) {
  if (end <= shown_) return "";
  const std::size_t begin = std::exchange(shown_, end);
  return text_.substr(begin, end - begin);
}

std::string ShownBytes::Add(std::string_view bytes) {
  if (!terminal_) return std::string(bytes);
  held_ += bytes;
  const std::size_t whole = held_.size() - UnfinishedBytes(held_);
  const std::string shown = WithoutControls(text::ReplaceInvalid(held_.substr(0, whole)));
  held_.erase(0, whole);
  return shown;
}

std::string ShownBytes::Finish() {
  return WithoutControls(text::ReplaceInvalid(std::exchange(held_, std::string())));
}

bool EndsInStop(const text::Tokenizer& tokenizer, std::span<const std::int32_t> written,
                const std::vector<std::string>& stops) {
  if (stops.empty() || written.empty()) return false;
  // A token is at least a byte of text, but for special ones: as many as the longest and some more.
  const std::size_t tail = std::min(written.size(), Longest(stops) + kPromptTokens);
  GeneratedText text(tokenizer, written.first(written.size() - tail), stops);
  for (const std::int32_t id : written.last(tail)) text.Add(id);
  text.Finish();
  return text.stopped();
}

}  // namespace longspan::cli
