#include "longspan/tokenizer.h"

#include "tests/support/files.h"
#include "text/added_tokens.h"
#include "text/subword_model.h"
#include "text/text_test.h"

namespace longspan::text {
namespace {

using test::Throws;
using Ids = std::vector<std::int32_t>;
using Spans = std::vector<Span>;

Vocabulary Words(const std::vector<std::string>& words) {
  Vocabulary v;
  for (std::size_t i = 0; i < words.size(); ++i) {
    v.Add(words[i], static_cast<idx_t>(i), static_cast<idx_t>(words.size()), "test");
  }
  return v;
}

TEST(OverflowNames, AreReadAsTheyAreWritten) {
  for (const Overflow kind : kAllOverflows) EXPECT_EQ(ParseOverflow(OverflowName(kind)), kind);
  EXPECT_EQ(OverflowName(Overflow::kTruncateFirst), "truncate-first");
  EXPECT_TRUE(Throws([] { ParseOverflow("truncate-first", kRowOverflows); }, ErrorCode::kUsage,
                     "overflow is 'truncate-first', need window, truncate or error"));
  EXPECT_TRUE(Throws([] { ParseOverflow("", kOneRowOverflows); }, ErrorCode::kUsage,
                     "overflow is '', need error or truncate"));
}

TEST(Vocabulary, RefusesWhatContradictsItself) {
  Vocabulary v = Words({"a", "b"});
  EXPECT_TRUE(Throws([&] { v.Add("c", 1, 3, "f"); }, ErrorCode::kFormat, "f: id 1 is both"));
  EXPECT_TRUE(Throws([&] { v.Add("a", 2, 3, "f"); }, ErrorCode::kFormat, "two ids, 0 and 2"));
  EXPECT_TRUE(
      Throws([&] { v.Add("c", idx_t{1} << 40, 3, "f"); }, ErrorCode::kFormat, "must be in"));
  EXPECT_TRUE(Throws([&] { v.Add("c", -1, 3, "f"); }, ErrorCode::kFormat, "has id -1"));
  EXPECT_EQ(v.IdOf("b"), 1);
  EXPECT_EQ(v.TokenOf(7), nullptr);
}

TokenRow Bpe(const Vocabulary& v, const std::vector<std::pair<std::string, std::string>>& merges,
             std::string_view text, const BpeModel::Options& options = {}) {
  const BpeModel model(v, merges, options, "test");
  BpeModel::Cache cache;
  TokenRow once, row;
  const Glyphs glyphs = GlyphsOf(text);
  model.EncodeWord(v, glyphs.data(), glyphs.data() + glyphs.size(), cache, once);
  model.EncodeWord(v, glyphs.data(), glyphs.data() + glyphs.size(), cache, row);
  EXPECT_EQ(row.ids, once.ids);  // from the cache
  EXPECT_EQ(row.chars, once.chars);
  return row;
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  const Vocabulary v = Words({"a", "b", "ab", "aa", "aab"});
  EXPECT_EQ(Bpe(v, {{"a", "b"}, {"a", "a"}}, "aab").ids, (Ids{0, 2}));
  EXPECT_EQ(Bpe(v, {{"a", "a"}, {"a", "b"}}, "aab").ids, (Ids{3, 1}));
  EXPECT_EQ(Bpe(v, {{"a", "a"}, {"aa", "b"}}, "aaaab").ids, (Ids{3, 4}));
  const TokenRow odd = Bpe(v, {{"a", "a"}}, "aaa");
  EXPECT_EQ(odd.ids, (Ids{3, 0}));
  EXPECT_EQ(odd.chars, (Spans{{0, 2}, {2, 3}}));
}

TEST(Bpe, BytesOfACharacterStandForAllOfIt) {
  // e with acute: bytes C3 A9, written as U+00C3 and U+00A9.
  const TokenRow row = Bpe(Words({"\xC3\x83", "\xC2\xA9", "x"}), {}, "\xC3\xA9x");
  EXPECT_EQ(row.ids, (Ids{0, 1, 2}));
  EXPECT_EQ(row.chars, (Spans{{0, 1}, {0, 1}, {1, 2}}));
}

TEST(Bpe, BytesWithoutATokenAreDroppedOrUnknown) {
  const Vocabulary v = Words({"a", "?"});
  EXPECT_EQ(Bpe(v, {}, "axxa").ids, (Ids{0, 0}));
  EXPECT_EQ(Bpe(v, {}, "axxa", {.unk = 1}).ids, (Ids{0, 1, 1, 0}));
  EXPECT_EQ(Bpe(v, {}, "axxa", {.unk = 1, .fuse_unk = true}).ids, (Ids{0, 1, 0}));
  EXPECT_TRUE(Bpe(v, {}, "xx", {.unk = {}, .ignore_merges = true}).ids.empty());
}

TEST(Bpe, RefusesAMergeOfStrangers) {
  const Vocabulary v = Words({"a", "b"});
  EXPECT_TRUE(Throws(
      [&] {
        BpeModel(v, {{"a", "b"}}, {}, "f");
      },
      ErrorCode::kFormat, "f: merge 0 (\"a\" with \"b\"): \"ab\" is not in the vocabulary"));
}

TokenRow Pieces(std::string_view word, idx_t longest = 100) {
  const Vocabulary v = Words({"[UNK]", "un", "##aff", "##able", "##a", "unaff"});
  TokenRow row;
  const Glyphs glyphs = GlyphsOf(word);
  WordPieceModel(v, {.longest_word = longest})
      .EncodeWord(glyphs.data(), glyphs.data() + glyphs.size(), row);
  return row;
}

TEST(WordPiece, TakesTheLongestPieceFirst) {
  EXPECT_EQ(Pieces("unaffable").ids, (Ids{5, 3}));
  EXPECT_EQ(Pieces("unaffable").chars, (Spans{{0, 5}, {5, 9}}));
  EXPECT_EQ(Pieces("unaaff").ids, (Ids{1, 4, 2}));
  EXPECT_EQ(Pieces("unaffx").ids, (Ids{0}));  // one bad end: the whole word
  EXPECT_EQ(Pieces("unaffx").chars, (Spans{{0, 6}}));
  EXPECT_EQ(Pieces("unaffable", 8).ids, (Ids{0}));
}

TEST(AddedTokens, LongestAtTheLeftAndWhatTheyTakeAlong) {
  AddedTokenFinder finder;
  finder.Add(GlyphsOf("<m>"), {.content = "<m>", .id = 5, .lstrip = true});
  finder.Add(GlyphsOf("<m>x"), {.content = "<m>x", .id = 6});
  finder.Add(GlyphsOf("is"), {.content = "is", .id = 7, .single_word = true, .rstrip = true});
  finder.Finish();
  const auto splits = [&](std::string_view text) {
    std::string shown;
    for (const AddedSplit& s : finder.Split(GlyphsOf(text))) {
      shown +=
          std::to_string(s.begin) + "-" + std::to_string(s.end) + ":" + std::to_string(s.id) + " ";
    }
    return shown;
  };
  EXPECT_EQ(splits("a  <m>b"), "0-1:-1 1-6:5 6-7:-1 ");
  EXPECT_EQ(splits("a <m>x"), "0-2:-1 2-6:6 ");
  EXPECT_EQ(splits("this is  it"), "0-5:-1 5-9:7 9-11:-1 ");
  EXPECT_EQ(splits("is  <m>"), "0-4:7 4-7:5 ");
  EXPECT_EQ(splits(""), "");
}

TEST(BytesTokenizerAsTokenizer, OffsetsAreThoseOfCharacters) {
  const auto t = MakeBytesTokenizer();
  const Encoding e = t->Encode("\xC3\xA9z")[0];
  EXPECT_EQ(e.ids, (Ids{0xC3 + 2, 0xA9 + 2, 'z' + 2}));
  EXPECT_EQ(e.chars, (Spans{{0, 1}, {0, 1}, {1, 2}}));
  EXPECT_EQ(e.bytes, (Spans{{0, 2}, {0, 2}, {2, 3}}));
  EXPECT_EQ(t->Decode(e.ids, true), "\xC3\xA9z");
  EXPECT_EQ(t->Encode("")[0].size(), 0);
}

TEST(Overflow, IsNeverSilent) {
  const auto t = MakeBytesTokenizer();
  EXPECT_TRUE(Throws([&] { t->Encode("abcdef", {.max_length = 4}); }, ErrorCode::kLimit,
                     "6 tokens with 0 special ones, max length 4"));
  const auto cut = t->Encode("abcdef", {.max_length = 4, .overflow = Overflow::kTruncate});
  ASSERT_EQ(cut.size(), 1u);
  EXPECT_EQ(t->Decode(cut[0].ids, true), "abcd");
  EXPECT_EQ(cut[0].dropped[0], 2);
}

TEST(Overflow, OfAPairCutsTheLongerOrTheFirst) {
  const auto t = MakeBytesTokenizer();
  const auto pair = [&](Overflow overflow, idx_t most) {
    return t->EncodePair("abcdef", "xyz", {.max_length = most, .overflow = overflow})[0];
  };
  const Encoding longest = pair(Overflow::kTruncate, 7);
  EXPECT_EQ(t->Decode(longest.ids, true), "abcdxyz");
  EXPECT_EQ(longest.sequence, (std::vector<std::int8_t>{0, 0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(t->Decode(pair(Overflow::kTruncate, 5).ids, true), "abcxy");
  EXPECT_EQ(pair(Overflow::kTruncate, 5).dropped[1], 1);
  EXPECT_EQ(t->Decode(pair(Overflow::kTruncateFirst, 5).ids, true), "abxyz");
  EXPECT_TRUE(Throws([&] { pair(Overflow::kTruncateFirst, 3); }, ErrorCode::kLimit,
                     "the second text alone has 3 tokens"));
}

TEST(Overflow, WindowsCoverTheTextAndShareTheStride) {
  const auto t = MakeBytesTokenizer();
  const EncodeOptions options{.max_length = 4, .overflow = Overflow::kWindow, .stride = 1};
  std::string shown;
  for (const Encoding& e : t->Encode("abcdefgh", options)) {
    shown += std::to_string(e.first_token[0]) + t->Decode(e.ids, true) + " ";
  }
  EXPECT_EQ(shown, "0abcd 3defg 6gh ");
  shown.clear();
  for (const Encoding& e : t->EncodePair("Q", "abcdefg", options)) {
    shown += t->Decode(e.ids, true) + " ";
    EXPECT_EQ(e.chars.back().end - e.chars[1].begin, e.size() - 1);
  }
  EXPECT_EQ(shown, "Qabc Qcde Qefg ");
  EXPECT_TRUE(Throws(
      [&] { t->Encode("abcdefgh", {.max_length = 4, .overflow = Overflow::kWindow, .stride = 4}); },
      ErrorCode::kUsage, "stride: 4 must be below the 4"));
}

}  // namespace
}  // namespace longspan::text
