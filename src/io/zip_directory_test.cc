#include "io/zip_directory.h"

#include "io/pytorch_test.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

using namespace pieces;  // NOLINT: the pieces of an archive
using longspan::test::GetFile;
using longspan::test::Throws;

ZipDirectory Read(const std::string& archive) {
  return ReadZipDirectory(MemorySource(archive, "x.bin"));
}
testing::AssertionResult RejectsArchive(const std::string& archive, std::string_view fragment) {
  return Throws([&] { Read(archive); }, ErrorCode::kFormat, fragment);
}
std::string TwoEntries() { return Zip({{"m/a", "hello"}, {"m/b", "world!"}}); }
void Put(std::string* archive, std::size_t at, const std::string& bytes) {
  archive->replace(at, bytes.size(), bytes);
}

TEST(ZipTest, FindsEntries) {
  const std::string archive = TwoEntries();
  const ZipDirectory directory = Read(archive);
  ASSERT_EQ(directory.size(), 2u);
  const ZipEntry& b = directory.at("m/b");
  EXPECT_EQ(archive.substr(b.begin, b.bytes), "world!");
  EXPECT_NO_THROW(CheckZipEntry(MemorySource(archive, "x.bin"), "m/b", b));
  EXPECT_TRUE(Read(Zip({})).empty());
}

// torch writes zip64 records and descriptors, and leaves the sizes out of an entry's own header.
TEST(ZipTest, ReadsWhatTorchWrites) {
  const std::string archive = GetFile(test::kGolden / "format-bin-zip/pytorch_model.bin");
  const MemorySource source(archive, "x.bin");
  const ZipDirectory directory = ReadZipDirectory(source);
  EXPECT_EQ(directory.size(), 60u);
  for (const auto& [name, entry] : directory) EXPECT_NO_THROW(CheckZipEntry(source, name, entry));
  // Its zip64 record is believed only where its locator and the end record agree.
  std::string bad = archive;
  Put(&bad, bad.size() - 22 - 20 + 8, Little(5, 8));
  EXPECT_TRUE(RejectsArchive(bad, "not where its locator says"));
  bad = archive;
  Put(&bad, bad.size() - 22 - 20 - 56 + 32, Little(61, 8));
  EXPECT_TRUE(RejectsArchive(bad, "several disks"));
  bad = archive;
  Put(&bad, bad.size() - 22 - 20 - 56 + 48, Little(~std::uint64_t{0}, 8));
  EXPECT_TRUE(RejectsArchive(bad, "does not end where the zip64"));
  bad = archive;
  Put(&bad, bad.size() - 22 - 20 - 56 + 4, Little(1000, 8));
  EXPECT_TRUE(RejectsArchive(bad, "another length"));
  bad = archive;
  Put(&bad, bad.size() - 22 + 8, Little(59, 2) + Little(59, 2));
  EXPECT_TRUE(RejectsArchive(bad, "disagree"));
}

// Cut off, with bytes before or behind it, two archives in a row, a directory outside of the file.
TEST(ZipTest, NeedsItsEnds) {
  const std::string whole = TwoEntries();
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_TRUE(RejectsArchive(whole.substr(0, n), "zip"));
  EXPECT_TRUE(RejectsArchive(whole + "x", "no end record"));
  EXPECT_TRUE(RejectsArchive("junk" + whole, "does not end where"));
  EXPECT_TRUE(RejectsArchive(whole + whole, "does not end where"));
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x"}}, "hello"), "no end record"));
  // An end record inside a comment of another one.
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x"}}, Zip({})), "does not end where"));
  std::string bad = whole;
  Put(&bad, whole.size() - 22 + 8, Little(3, 2) + Little(3, 2));
  EXPECT_TRUE(RejectsArchive(bad, "do not fit"));
  Put(&bad, whole.size() - 22 + 8, Little(1, 2) + Little(1, 2));
  EXPECT_TRUE(RejectsArchive(bad, "more entries than the end record says"));
  Put(&bad, whole.size() - 22 + 12, Little(0xffffff, 4));
  EXPECT_TRUE(RejectsArchive(bad, "does not end where"));
}

// Nothing is compressed or overlaps, so that no archive is larger than its file.
TEST(ZipTest, StoredOnly) {
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x", 8}}), "\"m/a\" is compressed (method 8)"));
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x", 99}}), "zip -0"));
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x", 0, 1}}), "encrypted"));
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x", 0, 1u << 13}}), "encrypted"));
  const ZipPart first{"m/a", "hello"};
  EXPECT_TRUE(RejectsArchive(Zip({first, {"m/b", "x", 0, 0, "", {}, 0}}), "another name"));
  EXPECT_TRUE(RejectsArchive(Zip({first, {"m/a", "hello", 0, 0, "", {}, 0}}), "overlaps"));
  // An entry inside another's data.
  const std::string inner = Zip({{"m/b", "x"}});
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", inner.substr(0, 34)}, {"m/b", "x", 0, 0, "", {}, 33}}),
                             "overlaps"));
  std::string hole = Zip({first});
  Put(&hole, hole.size() - 22 - 46 - 3 + 20, Little(4, 4) + Little(4, 4));
  Put(&hole, 18, Little(4, 4) + Little(4, 4));
  EXPECT_TRUE(RejectsArchive(hole, "belong to no entry"));
  Put(&hole, hole.size() - 22 - 46 - 3 + 20, Little(3, 4));
  EXPECT_TRUE(RejectsArchive(hole, "is stored, but 3 bytes shall hold 4"));
}

TEST(ZipTest, NamesAgreeAndLeadNowhere) {
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x", 0, 0, "m/b"}}), "another name in its own header"));
  EXPECT_TRUE(RejectsArchive(Zip({{"m/a", "x"}, {"m/a", "y"}}), "\"m/a\" occurs twice"));
  for (const char* name : {"../x", "/etc/passwd", "m/../x", "..", "m/..", "m\\x", "c:x", ""}) {
    EXPECT_TRUE(RejectsArchive(Zip({{name, "x"}}), "an entry is named")) << name;
  }
  EXPECT_TRUE(
      RejectsArchive(Zip({{std::string("a\0b", 3), "x"}}), "an entry is named \"a\\x00b\""));
  std::string other = TwoEntries();
  Put(&other, 14, Little(1, 4));  // a checksum in the entry's own header
  EXPECT_TRUE(RejectsArchive(other, "described otherwise"));
}

TEST(ZipTest, FindsDamage) {
  const std::string archive = Zip({{"m/a", "hello", 0, 0, "", 7}});
  const MemorySource source(archive, "x.bin");
  const ZipDirectory directory = ReadZipDirectory(source);
  EXPECT_TRUE(Throws([&] { CheckZipEntry(source, "m/a", directory.at("m/a")); }, ErrorCode::kFormat,
                     "\"m/a\" is damaged"));
}

}  // namespace
}  // namespace longspan::io
