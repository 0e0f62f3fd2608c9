#include "cli/shown_bytes.h"

#include <algorithm>
#include <utility>

#include "longspan/tokenizer.h"

namespace longspan::cli {
namespace {

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

}  // namespace

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

}  // namespace longspan::cli
