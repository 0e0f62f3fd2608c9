#include "io/atomic_directory.h"

#include "io/atomic_file.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

TEST(AtomicDirectoryTest, AppearsWhole) {
  TempDir dir;
  {
    AtomicDirectory folder(dir / "deep/er/out/");
    WriteFileAtomic(folder.path() / "a", "x");
    fs::create_directory(folder.path() / "sub");
    EXPECT_FALSE(fs::exists(dir / "deep/er/out"));
    folder.Commit();
    EXPECT_TRUE(Throws([&] { folder.Commit(); }, ErrorCode::kIo, "committed already"));
  }
  EXPECT_EQ(Listing(dir / "deep/er"), "out");
  EXPECT_EQ(Listing(dir / "deep/er/out"), "a sub");
}

TEST(AtomicDirectoryTest, OrNotAtAll) {
  TempDir dir;
  {
    AtomicDirectory folder(dir / "out");
    WriteFileAtomic(folder.path() / "a", "x");
  }
  EXPECT_EQ(Listing(dir.path()), "");
}

TEST(AtomicDirectoryTest, OverwritesNothing) {
  TempDir dir;
  fs::create_directory(dir / "empty");
  AtomicDirectory folder(dir / "empty");
  folder.Commit();
  fs::create_directory(dir / "full");
  PutFile(dir / "full/a", "x");
  PutFile(dir / "file", "x");
  fs::create_symlink("nowhere", dir / "link");
  for (const char* name : {"full", "full/", "file", "link"}) {
    EXPECT_TRUE(
        Throws([&] { AtomicDirectory out(dir / name); }, ErrorCode::kUsage, "there already"))
        << name;
  }
  EXPECT_TRUE(Throws([&] { AtomicDirectory out("/"); }, ErrorCode::kUsage, "names no folder"));
  EXPECT_TRUE(Throws([&] { AtomicDirectory out(dir / "file/out"); }, ErrorCode::kIo, "file"));
  // Filled by somebody else in the meantime.
  AtomicDirectory late(dir / "late");
  fs::create_directory(dir / "late");
  PutFile(dir / "late/b", "x");
  EXPECT_TRUE(Throws([&] { late.Commit(); }, ErrorCode::kIo, "rename into place"));
  EXPECT_EQ(Listing(dir / "late"), "b");
}

TEST(AtomicDirectoryTest, CopiesFiles) {
  TempDir dir;
  const std::string big(3'000'000, 'x');
  PutFile(dir / "a", big + "end");
  fs::create_symlink("a", dir / "link");
  CopyFile(dir / "link", dir / "b");
  EXPECT_TRUE(GetFile(dir / "b") == big + "end");
  EXPECT_FALSE(fs::is_symlink(dir / "b"));
  EXPECT_TRUE(Throws([&] { CopyFile(dir / "none", dir / "c"); }, ErrorCode::kIo, "none"));
}

}  // namespace
}  // namespace longspan::io
