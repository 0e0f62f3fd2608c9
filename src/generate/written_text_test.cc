#include "generate/written_text.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "tests/support/files.h"
#include "text/bytes_tokenizer.h"
#include "text/open_tokenizer.h"

namespace longspan {
namespace {

// What was shown, all of it, and the pieces that it came in.
struct Shown {
  std::string all;
  std::vector<std::string> pieces;
  bool stopped = false;
};

Shown Show(const text::Tokenizer& tokenizer, const std::vector<std::int32_t>& prompt,
           const std::vector<std::int32_t>& ids, const std::vector<std::string>& stops) {
  WrittenText text(tokenizer, prompt, stops);
  Shown shown;
  for (const std::int32_t id : ids) {
    shown.pieces.push_back(text.Add(id));
    shown.all += shown.pieces.back();
  }
  shown.all += text.Finish();
  shown.stopped = text.stopped();
  EXPECT_EQ(shown.all, text.text());
  return shown;
}

std::vector<std::int32_t> Bytes(std::string_view text) {
  return text::BytesTokenizer::Encode(text);
}

TEST(WrittenText, BytesComeAtOnce) {
  const auto tokenizer = text::MakeBytesTokenizer();
  const Shown shown = Show(*tokenizer, Bytes("x"), Bytes("abc"), {});
  EXPECT_EQ(shown.pieces, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_FALSE(shown.stopped);
}

TEST(WrittenText, StopStringsAndTheirBeginningsAreHeldBack) {
  const auto tokenizer = text::MakeBytesTokenizer();
  const Shown shown = Show(*tokenizer, {}, Bytes("one. two.\nthree"), {".\n", "END"});
  EXPECT_EQ(shown.all, "one. two");
  EXPECT_TRUE(shown.stopped);
  EXPECT_EQ(shown.pieces[3], "");    // the point may begin a stop string
  EXPECT_EQ(shown.pieces[4], ". ");  // it did not
  EXPECT_EQ(Show(*tokenizer, {}, Bytes("abEN"), {"END"}).all, "abEN");  // held back, then told
  EXPECT_EQ(Show(*tokenizer, {}, Bytes("aabaac"), {"aac"}).all, "aab");
  EXPECT_EQ(Show(*tokenizer, {}, Bytes("abcd"), {"cd", "bcd"}).all, "a");
  EXPECT_EQ(Show(*tokenizer, Bytes("E"), Bytes("ND"), {"END"}).all, "ND");  // not across the prompt
  EXPECT_THROW(WrittenText(*tokenizer, {}, {""}), Error);
}

TEST(WrittenText, SubwordsAreSpeltAsInTheWholeText) {
  for (const char* name : {"roberta", "bert-uncased"}) {
    const auto tokenizer = text::OpenTokenizer(test::kRoot / "tests/tokenizers" / name);
    text::EncodeOptions options;
    options.special_tokens = false;
    const auto ids =
        tokenizer->Encode("She had been forced into prudence, caf\xC3\xA9 \xE2\x82\xAC 5.", options)
            .front()
            .ids;
    const std::string whole = tokenizer->Decode(ids, true);
    for (const std::size_t prompt : {std::size_t{0}, std::size_t{3}, std::size_t{8}}) {
      const std::vector<std::int32_t> before(ids.begin(), ids.begin() + prompt);
      const std::vector<std::int32_t> after(ids.begin() + prompt, ids.end());
      const Shown shown = Show(*tokenizer, before, after, {});
      EXPECT_EQ(tokenizer->Decode(before, true) + shown.all, whole) << name << " " << prompt;
    }
  }
}

TEST(WrittenText, EndsInStopLooksAtTheEnd) {
  const auto tokenizer = text::MakeBytesTokenizer();
  EXPECT_TRUE(EndsInStop(*tokenizer, Bytes("some long text before a stop"), {"stop"}));
  EXPECT_FALSE(EndsInStop(*tokenizer, Bytes("some long text before a stop"), {"start"}));
  EXPECT_FALSE(EndsInStop(*tokenizer, Bytes("stop"), {}));
  EXPECT_FALSE(EndsInStop(*tokenizer, {}, {"a"}));
}

}  // namespace
}  // namespace longspan
