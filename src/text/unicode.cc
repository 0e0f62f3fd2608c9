#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "base/errors.h"
#include "base/limits.h"
#include "text/unicode_exceptions.h"

namespace longspan::text {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

bool IsWhiteSpace(char32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

KindBits ComputeKind(char32_t c) {
  if (const auto* row = exceptions::Find(exceptions::Kinds(), c)) return row->value;
  KindBits kind = IsWhiteSpace(c) ? kSpace : 0;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  const auto in = [&](int first, int last) { return category >= first && category <= last; };
  if (in(UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_LO)) kind |= kLetter;
  if (in(UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO)) kind |= kNumber;
  if (in(UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO) && c != '\t' && c != '\n' && c != '\r') {
    kind |= kControl;
  }
  const bool ascii_symbol = c < 128 && in(UTF8PROC_CATEGORY_SM, UTF8PROC_CATEGORY_SO);
  if (in(UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO) || ascii_symbol) kind |= kPunctuation;
  if (category == UTF8PROC_CATEGORY_MN) kind |= kMark;
  if (in(UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME)) kind |= kAnyMark;
  if (in(UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL) || category == UTF8PROC_CATEGORY_PC) {
    kind |= kWord;
  }
  if (category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT) kind |= kUpper;
  if (category == UTF8PROC_CATEGORY_LL) kind |= kLower;
  if (in(UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME)) kind |= kMarkClass;
  return kind;
}

// One character at text[at]; returns its bytes. See DecodeUtf8 for what is invalid.
std::size_t Next(std::string_view text, std::size_t at, char32_t& c) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(at);
  c = lead;
  if (lead < 0x80) return 1;
  c = kReplacement;
  if (lead < 0xC2 || lead > 0xF4) return 1;
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte keeps overlong forms, surrogates and what is above U+10FFFF out.
  const std::uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const std::uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  char32_t value = lead & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    const std::uint8_t lowest = i == 1 ? low : 0x80, highest = i == 1 ? high : 0xBF;
    if (at + i >= text.size() || byte(at + i) < lowest || byte(at + i) > highest) return i;
    value = value << 6 | (byte(at + i) & 0x3Fu);
  }
  c = value;
  return length;
}

}  // namespace

KindBits Kind(char32_t c) {
  static const auto ascii = [] {
    std::array<KindBits, 128> table{};
    for (char32_t i = 0; i < 128; ++i) table[i] = ComputeKind(i);
    return table;
  }();
  return c < 128 ? ascii[c] : ComputeKind(c);
}

bool IsCjk(char32_t c) {
  const auto in = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  return in(0x4E00, 0x9FFF) || in(0x3400, 0x4DBF) || in(0x20000, 0x2A6DF) || in(0x2A700, 0x2B73F) ||
         in(0x2B740, 0x2B81F) || in(0x2B920, 0x2CEAF) || in(0xF900, 0xFAFF) || in(0x2F800, 0x2FA1F);
}

Glyphs DecodeUtf8(std::string_view text, std::vector<idx_t>& starts) {
  Check(text.size() <= limits::kMostTextBytes, ErrorCode::kLimit,
        "text: {} bytes at once, at most {} become tokens; cut the text", text.size(),
        limits::kMostTextBytes);
  Glyphs glyphs;
  glyphs.reserve(text.size());
  starts.clear();
  starts.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size();) {
    char32_t c = 0;
    starts.push_back(static_cast<idx_t>(at));
    at += Next(text, at, c);
    const auto i = static_cast<std::int32_t>(glyphs.size());
    glyphs.push_back({c, i, i + 1});
  }
  starts.push_back(static_cast<idx_t>(text.size()));
  return glyphs;
}

void AppendUtf8(char32_t c, std::string& text) {
  const auto put = [&](char32_t byte) {
    text += static_cast<char>(static_cast<unsigned char>(byte));
  };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::string ToUtf8(const Glyph* first, const Glyph* last) {
  std::string text;
  for (; first != last; ++first) AppendUtf8(first->c, text);
  return text;
}

std::string ToUtf8(std::u32string_view characters) {
  std::string text;
  for (const char32_t c : characters) AppendUtf8(c, text);
  return text;
}

std::string ReplaceInvalid(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    char32_t c = 0;
    at += Next(text, at, c);
    AppendUtf8(c, valid);
  }
  return valid;
}

Glyphs LowerCase(Glyphs glyphs) {
  // Up to the first character that is not ASCII no memory is needed.
  std::size_t at = 0;
  for (; at < glyphs.size() && glyphs[at].c < 0x80; ++at) {
    char32_t& c = glyphs[at].c;
    if (c >= 'A' && c <= 'Z') c += 32;
  }
  if (at == glyphs.size()) return glyphs;
  Glyphs result;
  result.reserve(glyphs.size());
  result.assign(glyphs.begin(), glyphs.begin() + static_cast<std::ptrdiff_t>(at));
  for (; at < glyphs.size(); ++at) {
    const Glyph& g = glyphs[at];
    if (g.c < 0x80) {
      result.push_back({g.c >= 'A' && g.c <= 'Z' ? g.c + 32 : g.c, g.begin, g.end});
    } else if (const auto* row = exceptions::Find(exceptions::LowerCase(), g.c)) {
      for (int i = 0; i < 4 && row->to[i] != 0; ++i) {
        result.push_back({row->to[i], g.begin, g.end});
      }
    } else {
      const auto lower = utf8proc_tolower(static_cast<utf8proc_int32_t>(g.c));
      result.push_back({static_cast<char32_t>(lower), g.begin, g.end});
    }
  }
  return result;
}

}  // namespace longspan::text
