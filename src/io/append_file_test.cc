#include "io/append_file.h"

#include <signal.h>
#include <sys/resource.h>

#include "tests/support/files.h"

namespace longspan::io {
namespace {

using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

TEST(AppendFileTest, Appends) {
  const TempDir dir;
  PutFile(dir / "log", "a\n");
  AppendFile file(dir / "log");
  file.Append("b\n");
  EXPECT_EQ(GetFile(dir / "log"), "a\nb\n");
  file.Sync();
  file.Append("c\n");
  file.Sync();
  EXPECT_EQ(GetFile(dir / "log"), "a\nb\nc\n");
  EXPECT_TRUE(Throws([&] { AppendFile none(dir / "none"); }, ErrorCode::kIo,
                     "none: cannot open: No such file"));
}

// What a full disk leaves of a line is cut off, and the next one stands on its own.
TEST(AppendFileTest, AFailedLineLeavesNothing) {
  const TempDir dir;
  PutFile(dir / "log", "");
  AppendFile file(dir / "log");
  file.Append("first\n");
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit lowered{10, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &lowered);
  EXPECT_TRUE(Throws([&] { file.Append("second\n"); }, ErrorCode::kIo, "File too large"));
  EXPECT_EQ(GetFile(dir / "log"), "first\n");
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  file.Append("third\n");
  file.Sync();
  EXPECT_EQ(GetFile(dir / "log"), "first\nthird\n");
}

TEST(AppendFileTest, ManyLinesAreSyncedInBetween) {
  const TempDir dir;
  PutFile(dir / "log", "");
  AppendFile file(dir / "log");
  const std::string line(100'000, 'x');
  std::string whole;
  for (int i = 0; i < 25; ++i) {
    file.Append(line);
    whole += line;
  }
  EXPECT_TRUE(GetFile(dir / "log") == whole);
}

}  // namespace
}  // namespace longspan::io
