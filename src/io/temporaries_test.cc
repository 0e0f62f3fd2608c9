#include "io/temporaries.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

// Runs `work` in a child that dies by SIGKILL inside it, as soon as it calls its argument.
void DieInside(const std::function<void(const std::function<void()>&)>& work) {
  const pid_t child = fork();
  if (child == 0) {
    work([] { kill(getpid(), SIGKILL); });
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST(StaleTemporaries, OnlyWhatCrashedWritersLeft) {
  const TempDir dir;
  const std::string others =
      ".hidden .longspan-lock .longspan-tmp-1-2-old .longspan-tmp-1-2-unlocked .longspan-tmp-1-x "
      ".longspan-tmp-mine .longspan-tmp-probe- x";
  for (std::size_t at = 0; at < others.size();) {
    const std::size_t end = std::min(others.find(' ', at), others.size());
    PutFile(dir / others.substr(at, end - at), "");
    at = end + 1;
  }
  for (const char* name : {".longspan-tmp-12-0", ".longspan-tmp-probe-7"}) PutFile(dir / name, "");
  fs::create_directories(dir / ".longspan-tmp-12-dir-3/sub");
  PutFile(dir / ".longspan-tmp-12-dir-3/sub/weights", "w");
  RemoveStaleTemporaries(dir.path());
  EXPECT_EQ(Listing(dir.path()), others);
  EXPECT_TRUE(Throws([&] { RemoveStaleTemporaries(dir / "none"); }, ErrorCode::kIo, "No such"));
}

TEST(StaleTemporaries, WhatIsNoFileOrFolderStays) {
  const TempDir dir;
  PutFile(dir / "precious", "p");
  fs::create_symlink("precious", dir / ".longspan-tmp-1-1");
  ASSERT_EQ(mkfifo((dir / ".longspan-tmp-1-2").c_str(), 0600), 0);
  RemoveStaleTemporaries(dir.path());
  EXPECT_EQ(Listing(dir.path()), ".longspan-tmp-1-1 .longspan-tmp-1-2 precious");
}

TEST(StaleTemporaries, TheNextWriterInTheFolderRemovesThem) {
  const TempDir dir;
  DieInside([&](const auto& die) {
    AtomicFile file(dir / "out");
    AtomicDirectory folder(dir / "model");
    WriteFileAtomic(folder.path() / "weights", "w");
    die();
  });
  EXPECT_NE(Listing(dir.path()), "");
  WriteFileAtomic(dir / "another", "");
  EXPECT_EQ(Listing(dir.path()), "another");
}

TEST(StaleTemporaries, FoldersToo) {
  const TempDir dir;
  DieInside([&](const auto& die) {
    AtomicDirectory folder(dir / "deep/model");
    die();
  });
  AtomicDirectory(dir / "deep/model").Commit();
  EXPECT_EQ(Listing(dir / "deep"), "model");
}

TEST(StaleTemporaries, ThoseBesideAFolderToWriteTo) {
  const TempDir dir;
  fs::create_directory(dir / ".longspan-tmp-12-dir-3");
  EnsureWritableDirectory(dir / "model/");
  EXPECT_EQ(Listing(dir.path()), "model");
}

TEST(StaleTemporaries, NeverThoseOfALivingWriter) {
  const TempDir dir;
  int made[2], go[2];
  ASSERT_EQ(pipe(made), 0);
  ASSERT_EQ(pipe(go), 0);
  const pid_t child = fork();
  if (child == 0) {
    AtomicFile file(dir / "file");
    AtomicDirectory folder(dir / "folder");
    file.Write("text");
    char byte;
    if (write(made[1], "x", 1) != 1 || read(go[0], &byte, 1) != 1) _exit(1);
    file.Commit();
    folder.Commit();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(made[0], &byte, 1), 1);
  const std::string before = Listing(dir.path());
  RemoveStaleTemporaries(dir.path());
  EXPECT_EQ(Listing(dir.path()), before);
  ASSERT_EQ(write(go[1], "x", 1), 1);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Listing(dir.path()), "file folder");
  for (const int fd : {made[0], made[1], go[0], go[1]}) close(fd);
}

// A thread clears as fast as it can while another one writes.
TEST(StaleTemporaries, WritersNeverMissTheirs) {
  const TempDir dir;
  std::atomic<bool> done = false;
  std::thread sweeper([&] {
    while (!done) RemoveStaleTemporaries(dir.path());
  });
  for (int i = 0; i < 300; ++i) {
    EXPECT_NO_THROW(WriteFileAtomic(dir / "file", std::to_string(i)));
    EXPECT_NO_THROW(AtomicDirectory(dir / ("folder" + std::to_string(i))).Commit());
  }
  done = true;
  sweeper.join();
  EXPECT_EQ(GetFile(dir / "file"), "299");
}

TEST(HiddenFiles, OfADeadWriterAreBackOrGone) {
  const TempDir dir;
  PutFile(dir / "a", "old a");
  PutFile(dir / "b", "old b");
  DieInside([&](const auto& die) {
    const HiddenFile a(dir / "a"), b(dir / "b");
    WriteFileAtomic(dir / "a", "new a");
    die();
  });
  EXPECT_FALSE(fs::exists(dir / "b"));
  RemoveStaleTemporaries(dir.path());
  EXPECT_EQ(Listing(dir.path()), "a b");
  EXPECT_EQ(GetFile(dir / "a") + GetFile(dir / "b"), "new aold b");
}

TEST(HiddenFiles, OfALivingWriterStay) {
  const TempDir dir;
  PutFile(dir / "a", "old");
  {
    HiddenFile hidden(dir / "a");
    const std::string before = Listing(dir.path());
    RemoveStaleTemporaries(dir.path());
    EXPECT_EQ(Listing(dir.path()), before);
    hidden.PutBack();
  }
  EXPECT_EQ(GetFile(dir / "a"), "old");
  HiddenFile nothing(dir / "none");
  nothing.PutBack();
  EXPECT_EQ(Listing(dir.path()), "a");
}

// --- The end of the process -------------------------------------------------------------------

// Ends a child at once after RemoveLiveTemporaries, called by another thread than the one that runs
// `work` over and over; returns the status that the parent sees.
int EndWhile(int after_us, const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    std::thread([after_us] {
      usleep(static_cast<useconds_t>(after_us));
      RemoveLiveTemporaries();
      _exit(77);
    }).detach();
    try {
      for (;;) work();
    } catch (const std::exception&) {
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(LiveTemporaries, AllKindsGo) {
  const TempDir dir;
  const int status = EndWhile(50'000, [&] {
    AtomicFile file(dir / "file", 1000);
    AtomicDirectory folder(dir / "folder");
    fs::create_directory(folder.path() / "sub");
    for (int i = 0; i < 200; ++i) PutFile(folder.path() / "sub" / std::to_string(i), "x");
    CheckpointWriter checkpoint(dir.path(), 3);
    checkpoint.AddFile("a", "text");
    usleep(10'000'000);
  });
  EXPECT_EQ(status, 77);
  EXPECT_EQ(Listing(dir.path()), "");
}

// Whenever it comes: what is there is whole, and nothing else is.
TEST(LiveTemporaries, AtAnyMoment) {
  for (int after_us = 0; after_us < 4000; after_us += 37) {
    const TempDir dir;
    idx_t step = 0;
    const int status = EndWhile(after_us, [&] {
      ++step;
      WriteFileAtomic(dir / "file", "whole");
      CheckpointWriter checkpoint(dir.path(), step);
      checkpoint.AddFile("a", "text");
      checkpoint.AddFile("b", "text");
      checkpoint.Commit();
      AtomicDirectory folder(dir / std::to_string(step));
      WriteFileAtomic(folder.path() / "c", "whole");
      folder.Commit();
    });
    ASSERT_EQ(status, 77);
    ASSERT_EQ(Listing(dir.path()).find("tmp"), std::string::npos) << Listing(dir.path());
    for (const CheckpointInfo& info : ListCheckpoints(dir.path())) {
      ASSERT_NO_THROW(VerifyCheckpoint(info.path));
    }
    for (const auto& entry : fs::recursive_directory_iterator(dir.path())) {
      const std::string name = entry.path().filename();
      if (name == "file" || name == "c") {
        ASSERT_EQ(GetFile(entry.path()), "whole");
      }
    }
  }
}

}  // namespace
}  // namespace longspan::io
