// Characters with their place in a text, and what Unicode says of them, as the `tokenizers` package
// understands it: its regular expressions, its BERT normalizer and its tables of their versions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/tokenizer.h"
#include "longspan/types.h"

namespace longspan::text {

// A character and the characters [begin, end) of the original text that it stands for. There is
// one for each character of a text, so it is small: texts have less than 2 GiB.
struct Glyph {
  char32_t c = 0;
  std::int32_t begin = 0, end = 0;
};
using Glyphs = std::vector<Glyph>;

// Kinds of a character, one bit each.
using KindBits = std::uint16_t;
inline constexpr KindBits kLetter = 1;        // \p{L}
inline constexpr KindBits kNumber = 2;        // \p{N}
inline constexpr KindBits kSpace = 4;         // \s
inline constexpr KindBits kControl = 8;       // BERT: dropped when a text is cleaned
inline constexpr KindBits kPunctuation = 16;  // BERT: a token of its own
inline constexpr KindBits kMark = 32;         // BERT: an accent to strip
inline constexpr KindBits kAnyMark = 64;      // the StripAccents normalizer: a mark of any kind
inline constexpr KindBits kWord = 128;        // \w
inline constexpr KindBits kUpper = 256;       // \p{Lu} and \p{Lt}
inline constexpr KindBits kLower = 512;       // \p{Ll}; other letters are \p{Lm} and \p{Lo}
inline constexpr KindBits kMarkClass = 1024;  // \p{M}, of another version than kAnyMark

KindBits Kind(char32_t c);
// BERT: characters that get spaces around them.
bool IsCjk(char32_t c);

// The characters of a text. Invalid UTF-8: U+FFFD for each longest start of a sequence that could
// have been valid, one byte at least (Unicode 3.9, as Python's errors="replace"). `starts` gets the
// byte at which each character begins, and the length of the text behind them. kLimit for a text of
// more than limits::kMostTextBytes.
Glyphs DecodeUtf8(std::string_view text, std::vector<idx_t>& starts);

void AppendUtf8(char32_t c, std::string& text);
std::string ToUtf8(const Glyph* first, const Glyph* last);
std::string ToUtf8(std::u32string_view characters);
inline std::string ToUtf8(char32_t c) { return ToUtf8(std::u32string_view(&c, 1)); }

// The canonical or compatibility decomposition (NFD, NFKD), and the composition of it (NFC, NFKC).
// What a character decomposes to stands for what it stood for, a composed one for the first of
// them. What decomposes to more than `most` characters is left off somewhere behind them.
Glyphs Decompose(Glyphs glyphs, bool compatibility = false, std::size_t most = SIZE_MAX);
Glyphs Compose(Glyphs glyphs, bool compatibility = false, std::size_t most = SIZE_MAX);
// The glyphs for whose characters keep(c) holds.
template <class Keep>
void KeepOnly(const Keep& keep, Glyphs& glyphs) {
  std::erase_if(glyphs, [&](const Glyph& g) { return !keep(g.c); });
}
// Lower case, character by character (no final sigma).
Glyphs LowerCase(Glyphs glyphs);

}  // namespace longspan::text
