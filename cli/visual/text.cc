#include "cli/visual/text.h"

#include <cstdint>

namespace longspan::cli {
namespace {

// Bytes of the valid UTF-8 sequence at the beginning of `text`, or 0.
std::size_t SequenceBytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return 0;
  std::uint32_t point = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    point = point << 6 | (byte(i) & 0x3Fu);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
  const bool forbidden_in_xml = point == 0xFFFE || point == 0xFFFF;
  const bool control = point >= 0x80 && point < 0xA0;
  if (point < kSmallest[bytes] || point > 0x10FFFF) return 0;
  return surrogate || forbidden_in_xml || control ? 0 : bytes;
}

// Bytes of the escape sequence at the beginning of `text`, or 0.
std::size_t EscapeBytes(std::string_view text) {
  if (text.size() < 2 || text[0] != '\x1b' || text[1] != '[') return 0;
  std::size_t end = 2;
  while (end < text.size() && (text[end] < '@' || text[end] > '~')) ++end;
  return end < text.size() ? end + 1 : end;
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t bytes = SequenceBytes(text);
    const bool control = static_cast<std::uint8_t>(text[0]) < 0x20 || text[0] == '\x7f';
    if (bytes == 0 || control) {
      out += '?';
    } else {
      out += text.substr(0, bytes);
    }
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return out;
}

std::string ShellWord(const std::string& word) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.,:/@%+=";
  if (!word.empty() && word.find_first_not_of(kPlain) == word.npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::string PrintableName(std::string_view name) {
  constexpr std::string_view kBlanks = " \t\r\n\v\f";
  const bool bare = !name.empty() && kBlanks.find(name.front()) == kBlanks.npos &&
                    kBlanks.find(name.back()) == kBlanks.npos;
  return bare ? Printable(name) : "\"" + Printable(name) + "\"";
}

std::string LowerAscii(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return lower;
}

std::string EscapeXml(std::string_view text) {
  std::string out;
  for (const char c : Printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&apos;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

idx_t Columns(std::string_view text) {
  idx_t columns = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (const std::size_t skip = EscapeBytes(text.substr(i)); skip > 0) {
      i += skip;
      continue;
    }
    if ((static_cast<std::uint8_t>(text[i]) & 0xC0) != 0x80) ++columns;
    ++i;
  }
  return columns;
}

std::string ClipColumns(std::string_view text, idx_t columns) {
  std::string out;
  idx_t used = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (const std::size_t skip = EscapeBytes(text.substr(i)); skip > 0) {
      out += text.substr(i, skip);  // kept beyond the end too: the last one switches colours off
      i += skip;
      continue;
    }
    if ((static_cast<std::uint8_t>(text[i]) & 0xC0) != 0x80) ++used;
    if (used <= columns) out += text[i];
    ++i;
  }
  return out;
}

std::string PadColumns(std::string_view text, idx_t columns) {
  std::string out(text);
  for (idx_t used = Columns(text); used < columns; ++used) out += ' ';
  return out;
}

}  // namespace longspan::cli
