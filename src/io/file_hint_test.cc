#include "io/file_hint.h"

#include <gtest/gtest.h>

#include <utility>

namespace longspan::io {
namespace {

using namespace std::string_view_literals;

std::string_view What(std::string_view start) {
  const KnownFile* known = KnownFileOf(start);
  return known == nullptr ? std::string_view() : known->what;
}

TEST(FileHint, FilesThatHoldNoTextAsTheyLie) {
  const std::string tar = "a.txt" + std::string(252, '\0') + "ustar\0" + std::string(9, '0');
  for (const auto& [start, what] :
       {std::pair("PK\x03\x04\x14\0[Content_Types].xml"sv, "a zip archive"sv),
        {"BZh91AY&SY"sv, "bzip2"sv},
        {"\xfd"
         "7zXZ\0\0\4"sv,
         "xz"sv},
        {"7z\xbc\xaf\x27\x1c"sv, "a 7z archive"sv},
        {"PAR1\x15\x04"sv, "Parquet"sv},
        {"%PDF-1.4\n%"sv, "a PDF"sv},
        {"\x89PNG\r\n\x1a\n"sv, "a picture (PNG)"sv},
        {"\xff\xd8\xff\xe0"sv, "a picture (JPEG)"sv},
        {"GIF89a\1\0\1\0"sv, "a picture (GIF)"sv},
        {"RIFF\1\0\0\0WEBP"sv, "a picture (WebP)"sv},
        {"SQLite format 3\0"sv, "a SQLite database"sv},
        {"version https://git-lfs.github.com/spec/v1\n"sv, "a git-LFS pointer"sv},
        {std::string_view(tar), "a tar archive"sv}}) {
    EXPECT_EQ(What(start).substr(0, what.size()), what);
    EXPECT_EQ(FileHint(start).substr(0, 10 + what.size()), "; this is " + std::string(what));
  }
}

TEST(FileHint, TextsThatOnlySpeakOfThem) {
  for (const std::string_view text :
       {"PAR1 is what it begins with"sv, "GIF89a is older than PNG"sv, "BZh, said the bee"sv,
        "%PDF-1.4 is a version"sv, "7zip"sv, "version 2 of this"sv, "PK"sv, "RIFF"sv, ""sv}) {
    EXPECT_EQ(What(text), "") << text;
  }
}

TEST(FileHint, BeginningsOfBeginnings) {
  for (const std::string_view start : {"BZh91AY&SY"sv, "RIFF\1\2\3\4WEBP"sv, "%PDF-1.4\n%"sv,
                                       "\xff\xfe\0\0a"sv, "7z\xbc\xaf\x27\x1c"sv}) {
    for (std::size_t n = 0; n < start.size(); ++n) {
      const std::string cut(start.substr(0, n));  // memory that ends there
      EXPECT_LE(What(cut).size(), 64u) << cut;
      WideEncodingOf(cut);
    }
  }
}

TEST(FileHint, TextsOfTwoBytesACharacter) {
  EXPECT_EQ(WideEncodingOf("\xff\xfe"
                           "a\0"sv),
            "utf-16");
  EXPECT_EQ(WideEncodingOf("\xfe\xff\0a"sv), "utf-16");
  EXPECT_EQ(WideEncodingOf("\xff\xfe\0\0a\0\0\0"sv), "utf-32");
  EXPECT_EQ(WideEncodingOf("S\0h\0e\0 \0"sv), "utf-16le");
  EXPECT_EQ(WideEncodingOf("\0S\0h\0e\0 "sv), "utf-16be");
  for (const std::string_view text : {"She had been"sv, "She\0"sv, "\0\0\0\0\0\0"sv, ""sv}) {
    EXPECT_EQ(WideEncodingOf(text), "") << text;
  }
}

}  // namespace
}  // namespace longspan::io
