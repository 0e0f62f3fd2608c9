#include "data/bytes.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include "data/gzip_test.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::Gzip;
using test::PutFile;
using test::TempDir;
using test::Throws;

std::string Zstd(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string All(data::ByteStream& bytes, std::size_t at_once) {
  std::string all, piece(at_once, '\0');
  while (const std::size_t got = bytes.Read(piece.data(), piece.size())) {
    all.append(piece, 0, got);
  }
  return all;
}

std::string Unpack(std::string_view packed, std::size_t at_once = 1000) {
  return All(*data::MemoryBytes(packed, "t"), at_once);
}

TEST(BytesTest, PackedBytesComeOutWhole) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += std::to_string(i * 7919 % 1000);
  for (const std::size_t at_once : {std::size_t{1}, std::size_t{777}, text.size() * 2}) {
    EXPECT_EQ(Unpack(Gzip(text), at_once), text);
    EXPECT_EQ(Unpack(Zstd(text), at_once), text);
  }
  // One behind the other, as gzip and zstd write them when files are joined.
  EXPECT_EQ(Unpack(Gzip("ab") + Gzip("cd")), "abcd");
  EXPECT_EQ(Unpack(Zstd("ab") + Zstd("cd")), "abcd");
  EXPECT_EQ(Unpack(Gzip("")), "");
  EXPECT_EQ(Unpack(Zstd("")), "");
  EXPECT_EQ(Unpack("\x1f"), "\x1f");  // no mark
  // What is to be skipped, and what pads tapes.
  EXPECT_EQ(Unpack(std::string("\x50\x2a\x4d\x18\x03\0\0\0xyz", 11) + Zstd("ab")), "ab");
  EXPECT_EQ(Unpack(Gzip("ab") + std::string(1000, '\0')), "ab");
}

TEST(BytesTest, DamageIsNoEnd) {
  const std::string gzip = Gzip("some text"), zstd = Zstd("some text");
  for (std::size_t size = 4; size < gzip.size(); ++size) {
    EXPECT_TRUE(Throws([&] { Unpack(gzip.substr(0, size)); }, ErrorCode::kFormat, "t: ")) << size;
  }
  for (std::size_t size = 4; size < zstd.size(); ++size) {
    EXPECT_TRUE(Throws([&] { Unpack(zstd.substr(0, size)); }, ErrorCode::kFormat, "cut off"))
        << size;
  }
  std::string wrong = gzip;
  wrong[wrong.size() - 6] ^= 1;  // of the checksum
  EXPECT_TRUE(
      Throws([&] { Unpack(wrong); }, ErrorCode::kFormat, "t: damaged gzip: incorrect data"));
}

TEST(BytesTest, FilesAreRegularAndWhatTheirNameSays) {
  const TempDir d;
  PutFile(d / "a.txt.gz", Gzip("text"));
  PutFile(d / "b.csv", Zstd("a,b"));  // whatever its name
  PutFile(d / "c.gz", "no gzip");
  EXPECT_EQ(All(*data::OpenBytes(d / "a.txt.gz"), 10), "text");
  EXPECT_EQ(All(*data::OpenBytes(d / "b.csv"), 10), "a,b");
  EXPECT_TRUE(Throws([&] { data::OpenBytes(d / "c.gz"); }, ErrorCode::kFormat, "neither gzip"));
  EXPECT_TRUE(Throws([&] { data::OpenBytes(d / "none"); }, ErrorCode::kIo, "cannot open"));
  EXPECT_TRUE(Throws([&] { data::OpenBytes(d.path()); }, ErrorCode::kIo, "a directory"));
  bool packed = false;
  EXPECT_EQ(data::WithoutPacking("x/a.CSV.GZ", &packed), "x/a.CSV");
  EXPECT_TRUE(packed);
  EXPECT_EQ(data::WithoutPacking("a.csv", &packed), "a.csv");
  EXPECT_FALSE(packed);
}

}  // namespace
}  // namespace longspan
