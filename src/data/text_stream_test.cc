#include "data/text_stream.h"

#include <gtest/gtest.h>

#include "data/utf8.h"
#include "io/utf8.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using data::LineBreaks;
using test::Throws;

// Hands out so many bytes at a time.
class Drops final : public data::ByteStream {
 public:
  Drops(std::string bytes, std::size_t size) : bytes_(std::move(bytes)), size_(size) {}
  std::size_t Read(char* data, std::size_t most) override {
    const std::size_t got = bytes_.copy(data, std::min(most, size_), at_);
    at_ += got;
    return got;
  }

 private:
  std::string bytes_;
  std::size_t size_, at_ = 0;
};

std::string ReadText(const std::string& bytes, LineBreaks breaks,
                     const std::string& encoding = "utf-8", std::size_t size = 1000) {
  data::TextStream stream(std::make_unique<Drops>(bytes, size), "t", data::EncodingName(encoding),
                          breaks);
  while (stream.More()) {
  }
  return std::string(stream.rest());
}

TEST(TextStreamTest, LineBreaksAreOfOneKindWhereverAChunkEnds) {
  for (std::size_t size = 1; size < 9; ++size) {
    EXPECT_EQ(ReadText("a\r\nb\rc\n\r\n\rd\r", LineBreaks::kAll, "utf-8", size),
              "a\nb\nc\n\n\nd\n");
    EXPECT_EQ(ReadText("a\r\nb\rc\n\r\n\rd\r", LineBreaks::kTable, "utf-8", size),
              "a\nb\rc\n\n\rd\n");
    EXPECT_EQ(ReadText("\xef\xbb\xbf"
                       "a\r\n",
                       LineBreaks::kAll, "utf-8", size),
              "a\n");
    EXPECT_EQ(ReadText("\xef\xbb\xbf"
                       "a\r\n",
                       LineBreaks::kAll, "bytes", size),
              "\xef\xbb\xbf"
              "a\r\n");
  }
}

TEST(TextStreamTest, Utf16WithoutAMarkIsNamed) {
  const std::string text = "a,b\r\nc,d\r\n\xe9";
  std::string low, high;
  for (const char c : text) {
    low += {c, '\0'};
    high += {'\0', c};
  }
  for (const LineBreaks breaks : {LineBreaks::kAll, LineBreaks::kTable}) {
    EXPECT_TRUE(Throws([&] { ReadText(low, breaks); }, ErrorCode::kFormat,
                       "t: UTF-16 without a byte-order mark (every second byte is 0); --encoding "
                       "utf-16le reads it"));
    EXPECT_TRUE(Throws([&] { ReadText(high + '\0', breaks); }, ErrorCode::kFormat, "utf-16be"));
  }
  EXPECT_EQ(ReadText(low, LineBreaks::kAll, "utf-16le"), "a,b\nc,d\n\xc3\xa9");
  EXPECT_EQ(ReadText(high, LineBreaks::kAll, "utf-16be"), "a,b\nc,d\n\xc3\xa9");
  // "utf-16" without a mark is of this machine's order.
  EXPECT_TRUE(Throws([&] { ReadText(high, LineBreaks::kAll, "utf-16"); }, ErrorCode::kFormat,
                     "--encoding utf-16be reads it"));
  EXPECT_EQ(ReadText(low, LineBreaks::kAll, "utf-16"), "a,b\nc,d\n\xc3\xa9");
  EXPECT_EQ(ReadText("\xfe\xff" + high, LineBreaks::kAll, "utf-16"), "a,b\nc,d\n\xc3\xa9");
  EXPECT_EQ(ReadText(low, LineBreaks::kKeep, "bytes"), low);
  for (const std::string& other : {std::string("plain text"), std::string("a\0b\0c", 5),
                                   std::string("one\0two\0three\0", 14), std::string(16, '\0')}) {
    EXPECT_EQ(data::UnmarkedUtf16(other), "");
  }
}

TEST(TextStreamTest, OtherEncodingsBecomeUtf8) {
  EXPECT_EQ(ReadText("f\xfchlte\r\n", LineBreaks::kAll, "latin-1"), "f\xc3\xbchlte\n");
  EXPECT_EQ(ReadText("\x93so\x94", LineBreaks::kAll, "cp1252"), "\xe2\x80\x9cso\xe2\x80\x9d");
  const std::string utf16(
      "\xff\xfe"
      "a\0\xfc\0\r\0\n\0=\xd8\0\xde",
      14);
  for (std::size_t size = 1; size < 9; ++size) {
    // A mark says so by itself.
    EXPECT_EQ(ReadText(utf16, LineBreaks::kAll, "utf-8", size), "a\xc3\xbc\n\xf0\x9f\x98\x80");
    EXPECT_EQ(ReadText(utf16, LineBreaks::kAll, "utf-16", size), "a\xc3\xbc\n\xf0\x9f\x98\x80");
  }
  EXPECT_EQ(ReadText(std::string("\0a\0b", 4), LineBreaks::kAll, "utf-16be"), "ab");
  EXPECT_TRUE(Throws([] { ReadText("ab\x81", LineBreaks::kAll, "cp1252"); }, ErrorCode::kFormat,
                     "t: byte 2 is 0x81, which is no CP1252"));
  EXPECT_TRUE(Throws([] { ReadText(std::string("a\0b", 3), LineBreaks::kAll, "utf-16le"); },
                     ErrorCode::kFormat, "ends inside of a character"));
  EXPECT_TRUE(Throws([] { data::EncodingName("klingon"); }, ErrorCode::kUsage, "'klingon'"));
  EXPECT_TRUE(Throws([] { data::EncodingName("latin1//TRANSLIT"); }, ErrorCode::kUsage, "unknown"));
}

TEST(TextStreamTest, AMarkThatComesAloneIsNoEnd) {
  const std::string utf32("\0\0\xfe\xff\0\0\0a\0\0\0b", 12);
  for (const std::size_t size : {1u, 4u, 100u}) {
    EXPECT_EQ(ReadText(utf32, LineBreaks::kAll, "utf-8", size), "ab") << size;
    EXPECT_EQ(ReadText("", LineBreaks::kAll, "utf-8", size), "");
    EXPECT_EQ(ReadText("\xef\xbb\xbf", LineBreaks::kAll, "utf-8", size), "");
    EXPECT_EQ(ReadText("a\r", LineBreaks::kTable, "utf-8", size), "a\n");
  }
}

TEST(TextStreamTest, OneMarkIsAMark) {
  constexpr const char* kNoBreak = "\xef\xbb\xbf";  // U+FEFF: what a mark is elsewhere
  const std::string twice(
      "\xff\xfe\xff\xfe\xff\xfe"
      "a\0",
      8),
      named(twice.substr(2));
  for (const std::size_t size : {1u, 2u, 3u, 100u}) {
    EXPECT_EQ(ReadText(twice, LineBreaks::kAll, "utf-8", size),
              std::string(kNoBreak) + kNoBreak + "a");
    EXPECT_EQ(ReadText(named, LineBreaks::kAll, "utf-16le", size), std::string(kNoBreak) + "a");
  }
}

TEST(TextStreamTest, WhatWasTakenIsCounted) {
  data::TextStream stream(std::make_unique<Drops>("a\r\nb\r\nc", 2), "t", data::kUtf8,
                          LineBreaks::kAll);
  while (stream.rest().size() < 4) ASSERT_TRUE(stream.More());
  stream.Take(3);
  EXPECT_EQ(stream.line(), 2u);
  while (stream.More()) {
  }
  EXPECT_EQ(stream.rest(), "\nc");
  stream.Take(100);
  EXPECT_EQ(stream.line(), 3u);
  EXPECT_FALSE(stream.More());
}

TEST(Utf8Test, TheFirstWrongByteIsNamed) {
  constexpr std::size_t kNone = std::string_view::npos;
  EXPECT_EQ(io::FirstInvalidUtf8(""), kNone);
  EXPECT_EQ(io::FirstInvalidUtf8("abcdefghijk\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80 and more"),
            kNone);
  EXPECT_EQ(io::FirstInvalidUtf8("abcdefghij\xfc"), 10u);
  EXPECT_EQ(io::FirstInvalidUtf8("a\xc0\xaf"), 1u);         // overlong
  EXPECT_EQ(io::FirstInvalidUtf8("ab\xed\xa0\x80"), 2u);    // half a surrogate
  EXPECT_EQ(io::FirstInvalidUtf8("\xf4\x90\x80\x80"), 0u);  // beyond U+10FFFF
  EXPECT_EQ(io::FirstInvalidUtf8("abc\xe2\x82"), 3u);       // cut off
  EXPECT_TRUE(Throws([] { data::CheckUtf8("ab\nc\xfc", "f", 7); }, ErrorCode::kFormat,
                     "f:8: byte 1 of the line is 0xfc, which is no UTF-8; --encoding"));
  EXPECT_TRUE(Throws([] { data::CheckUtf8("\xfc", "f", 1, {}, 3); }, ErrorCode::kFormat,
                     "f:1: byte 3 of the line"));
}

}  // namespace
}  // namespace longspan
