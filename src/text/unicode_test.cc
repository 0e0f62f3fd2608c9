#include "text/unicode.h"

#include <xxhash.h>

#include "tests/support/files.h"
#include "text/text_test.h"

namespace longspan::text {
namespace {

std::string Text(const Glyphs& glyphs) {
  return ToUtf8(glyphs.data(), glyphs.data() + glyphs.size());
}

std::vector<idx_t> Begins(const Glyphs& glyphs) {
  std::vector<idx_t> begins;
  for (const Glyph& g : glyphs) begins.push_back(g.begin);
  return begins;
}

TEST(Unicode, EveryScalarThereAndBack) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    AppendUtf8(c, text);
    const Glyphs glyphs = GlyphsOf(text);
    ASSERT_EQ(glyphs.size(), 1u) << static_cast<unsigned>(c);
    ASSERT_EQ(glyphs[0].c, c);
  }
}

// Python: bytes.decode("utf-8", "replace").
TEST(Unicode, InvalidUtf8IsReplacedPieceByPiece) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(ReplaceInvalid("a\x80z"), "a" + r + "z");
  EXPECT_EQ(ReplaceInvalid("\xE2\x82"), r);  // cut: one piece
  EXPECT_EQ(ReplaceInvalid("\xE2\x82z"), r + "z");
  EXPECT_EQ(ReplaceInvalid("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(ReplaceInvalid("\xC0\xAF"), r + r);                  // overlong
  EXPECT_EQ(ReplaceInvalid("\xF4\x90\x80\x80"), r + r + r + r);  // above U+10FFFF
  EXPECT_EQ(ReplaceInvalid("\xF0\x9F\x98"), r);
  std::vector<idx_t> starts;
  DecodeUtf8("a\xE2\x82z", starts);
  EXPECT_EQ(starts, (std::vector<idx_t>{0, 1, 3, 4}));
}

TEST(Unicode, DecomposedCharactersKeepTheirPlace) {
  const Glyphs e = Decompose(GlyphsOf("\xC3\xA9x"));  // e with acute
  EXPECT_EQ(Text(e), "e\xCC\x81x");
  EXPECT_EQ(Begins(e), (std::vector<idx_t>{0, 0, 1}));
  // a with diaeresis and a dot below: the dot comes first, and the place of each mark is by order.
  const Glyphs a = Decompose(GlyphsOf("\xC3\xA4\xCC\xA3"));
  EXPECT_EQ(Text(a), "a\xCC\xA3\xCC\x88");
  EXPECT_EQ(Begins(a), (std::vector<idx_t>{0, 1, 1}));
  EXPECT_EQ(Decompose(GlyphsOf("\xEA\xB0\x80")).size(), 2u);  // Hangul
}

TEST(Unicode, ComposedCharactersStandAtTheFirstOfThem) {
  const Glyphs e = Compose(GlyphsOf("e\xCC\x81x"));
  EXPECT_EQ(Text(e), "\xC3\xA9x");
  EXPECT_EQ(Begins(e), (std::vector<idx_t>{0, 2}));
  EXPECT_EQ(e[0].end, 1);
  // A dot below and a diaeresis: the mark between does not block the one that composes.
  EXPECT_EQ(Text(Compose(GlyphsOf("a\xCC\xA3\xCC\x88"))), "\xE1\xBA\xA1\xCC\x88");
  EXPECT_EQ(Text(Compose(GlyphsOf("\xE1\x84\x80\xE1\x85\xA1"))), "\xEA\xB0\x80");  // Hangul
  EXPECT_EQ(Text(Compose(GlyphsOf("\xEF\xAC\x81"))), "\xEF\xAC\x81");  // the ligature fi
  EXPECT_EQ(Text(Compose(GlyphsOf("\xEF\xAC\x81"), true)), "fi");
  EXPECT_TRUE(Compose({}).empty());
}

TEST(Unicode, LowerCase) {
  EXPECT_EQ(Text(LowerCase(GlyphsOf("AZ\xC3\x84"))), "az\xC3\xA4");
  const Glyphs dotted = LowerCase(GlyphsOf("\xC4\xB0x"));  // I with dot: two characters
  EXPECT_EQ(Text(dotted), "i\xCC\x87x");
  EXPECT_EQ(Begins(dotted), (std::vector<idx_t>{0, 0, 1}));
}

// Recorded from `tokenizers` 0.23.3 by tools/make_unicode_exceptions.py.
TEST(Unicode, KindsDecompositionsAndLowerCaseOfEveryScalarAreThePackages) {
  std::string kinds, decomposed, compatible, lower;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    kinds += static_cast<char>(Kind(c) & 0xFF);
    kinds += static_cast<char>(Kind(c) >> 8);
    const Glyphs one{{c, 0, 1}};
    decomposed += Text(Decompose(one)) + "\n";
    compatible += Text(Decompose(one, true)) + "\n";
    lower += Text(LowerCase(one)) + "\n";
  }
  EXPECT_EQ(XXH64(kinds.data(), kinds.size(), 0), 0x96e34730c04fe0f5ull);
  EXPECT_EQ(XXH64(decomposed.data(), decomposed.size(), 0), 0x7af127fd0bab4696ull);
  EXPECT_EQ(XXH64(compatible.data(), compatible.size(), 0), 0xb4db83090e3db82full);
  EXPECT_EQ(XXH64(lower.data(), lower.size(), 0), 0xcfd75955153b9822ull);
}

}  // namespace
}  // namespace longspan::text
