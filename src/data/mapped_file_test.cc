#include "data/mapped_file.h"

#include <sys/stat.h>

#include <cstring>

#include "tests/support/files.h"

namespace longspan::data {
namespace {

using test::Throws;

std::string Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, CopiedOrMappedHoldsTheBytes) {
  const test::TempDir dir;
  std::string text(10'000, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7);
  test::PutFile(dir / "text", text);
  const MappedFile copied = MappedFile::Open(dir / "text");
  MappedFile mapped = MappedFile::Open(dir / "text", 0);
  EXPECT_EQ(Text(copied), text);
  EXPECT_EQ(Text(mapped), text);
  EXPECT_EQ(copied.Fingerprint(), mapped.Fingerprint());
  const MappedFile moved = std::move(mapped);
  EXPECT_EQ(Text(moved), text);
  EXPECT_EQ(mapped.size(), 0u);  // NOLINT(bugprone-use-after-move)
  text[5000] ^= 1;
  test::PutFile(dir / "other", text);
  EXPECT_NE(MappedFile::Open(dir / "other").Fingerprint(), copied.Fingerprint());
}

TEST(MappedFile, RejectsWhatIsNoText) {
  const test::TempDir dir;
  EXPECT_TRUE(Throws([&] { MappedFile::Open(dir / "none"); }, ErrorCode::kIo, "No such file"));
  EXPECT_TRUE(Throws([&] { MappedFile::Open(dir.path()); }, ErrorCode::kIo, "a directory"));
  test::PutFile(dir / "empty", "");
  EXPECT_TRUE(Throws([&] { MappedFile::Open(dir / "empty"); }, ErrorCode::kFormat, "empty"));
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(Throws([&] { MappedFile::Open(dir / "fifo"); }, ErrorCode::kIo, "a FIFO"));
  EXPECT_TRUE(Throws([&] { MappedFile::Open("/dev/zero"); }, ErrorCode::kIo, "a device"));
}

TEST(MappedFile, NoticesChanges) {
  const test::TempDir dir;
  test::PutFile(dir / "text", "hello");
  const MappedFile file = MappedFile::Open(dir / "text");
  EXPECT_NO_THROW(file.CheckUnchanged());
  test::PutFile(dir / "text", "hell");
  EXPECT_TRUE(Throws([&] { file.CheckUnchanged(); }, ErrorCode::kFormat, "5 bytes then, 4 now"));
  EXPECT_EQ(Text(file), "hello");  // the copy stands
  std::filesystem::remove(dir / "text");
  EXPECT_TRUE(Throws([&] { file.CheckUnchanged(); }, ErrorCode::kIo, "No such file"));
}

}  // namespace
}  // namespace longspan::data
