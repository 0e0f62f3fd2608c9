#include "io/escape.h"

#include <fmt/format.h>

#include <cstdint>

namespace longspan::io {
namespace {

struct Sequence {
  std::size_t length = 0;
  std::uint32_t code = 0;
};

// The well-formed UTF-8 sequence of two or more bytes at the start of `text`; length 0: there is
// none.
Sequence LongSequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  std::size_t length = 0;
  std::uint32_t code = 0;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
    code = lead & 0x1fu;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    code = lead & 0x0fu;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    code = lead & 0x07u;
  }
  if (length == 0 || text.size() < length) return {};
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80u) return {};
    code = (code << 6) | (byte(i) & 0x3fu);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return overlong || surrogate || code > 0x10ffff ? Sequence{} : Sequence{length, code};
}

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

bool IsUtf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const bool ascii = static_cast<std::uint8_t>(text[i]) < 0x80;
    const std::size_t length = ascii ? 1 : LongSequence(text.substr(i)).length;
    if (length == 0) return false;
    i += length;
  }
  return true;
}

}  // namespace longspan::io
