#include <fmt/format.h>

#include <cstdint>

#include "io/utf8.h"
#include "longspan/files.h"

namespace longspan::io {
namespace {

// Length of the sequence if it shows as itself in a line of text, else 0. Controls and direction
// overrides do not.
std::size_t ShowableSequence(std::string_view text) {
  const auto [length, code] = LongSequence(text);
  const bool control = code < 0xa0 || (code >= 0x200b && code <= 0x200f) ||
                       (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
                       code == 0x061c || code == 0xfeff || code > 0x1ffff;
  return control ? 0 : length;
}

}  // namespace

std::string Escape(std::string_view text, std::size_t most) {
  const std::string_view shown = text.substr(0, most);
  std::string out;
  out.reserve(shown.size() + 16);
  for (std::size_t i = 0; i < shown.size();) {
    const char c = shown[i];
    if (const std::size_t length = ShowableSequence(shown.substr(i)); length > 0) {
      out += shown.substr(i, length);
      i += length;
      continue;
    }
    if (c == '\n') {
      out += "\\n";
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<std::uint8_t>(c));
    }
    ++i;
  }
  if (shown.size() < text.size()) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

bool IsUtf8(std::string_view text) { return FirstInvalidUtf8(text) == std::string_view::npos; }

}  // namespace longspan::io
