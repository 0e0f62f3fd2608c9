#include "data/scratch_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <utility>

#include "tests/support/files.h"

namespace longspan {
namespace {

using data::ScratchFile;
using test::Listing;
using test::TempDir;
using test::Throws;

std::string TextOf(ScratchFile& file) {
  const auto bytes = file.bytes();
  return {bytes.begin(), bytes.end()};
}

TEST(ScratchFileTest, LittleStaysInMemoryAndTheRestGoesIntoAFileWithoutAName) {
  const TempDir d;
  ScratchFile file(d / "run/that/is/not/there", 8);
  file.Append("01234567", 8);
  EXPECT_FALSE(file.in_file());
  EXPECT_EQ(TextOf(file), "01234567");
  file.Append("89", 2);
  EXPECT_TRUE(file.in_file());
  EXPECT_EQ(TextOf(file), "0123456789");
  std::string all = "0123456789";
  for (int i = 0; i < 300; ++i) {
    const std::string more(10'000 + static_cast<std::size_t>(i), static_cast<char>('a' + i % 26));
    file.Append(more.data(), more.size());
    all += more;
  }
  EXPECT_EQ(file.size(), all.size());
  EXPECT_EQ(TextOf(file), all);
  EXPECT_EQ(Listing(d.path()), "");
  ScratchFile moved = std::move(file);
  EXPECT_EQ(TextOf(moved), all);
  moved.Append("x", 1);
  EXPECT_EQ(TextOf(moved), all + "x");
  EXPECT_EQ(moved.Finish().size(), all.size() + 1);
  EXPECT_EQ(TextOf(moved), all + "x");
}

TEST(ScratchFileTest, WithoutAFolderAllStaysInMemory) {
  ScratchFile file({}, 0);
  EXPECT_TRUE(file.bytes().empty());
  file.Append("abc", 3);
  EXPECT_FALSE(file.in_file());
  EXPECT_EQ(TextOf(file), "abc");
}

TEST(ScratchFileTest, AFolderThatTakesNoFileIsNamed) {
  ScratchFile file("/proc/longspan", 0);
  EXPECT_TRUE(Throws([&] { file.Append("abc", 3); }, ErrorCode::kIo,
                     "/proc: cannot make a file for the data in it"));
}

// A limit of the size of files stands for a full disk, which takes the same way.
TEST(ScratchFileTest, WhatCannotBeWrittenIsOneLine) {
  const TempDir d;
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  ScratchFile file(d / "run", 100);
  const std::string text(4000, 'x');
  const auto thrown =
      Throws([&] { file.Append(text.data(), text.size()); }, ErrorCode::kIo, ": cannot write: ");
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_TRUE(thrown);
}

}  // namespace
}  // namespace longspan
