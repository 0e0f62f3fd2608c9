#include "io/checkpoint.h"

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "io/atomic_file.h"
#include "io/checksum.h"
#include "io/json.h"
#include "io/paths.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

// A checkpoint of three files whose content says its step and `mark`.
fs::path Save(const fs::path& run_dir, idx_t step, const std::string& mark = "a") {
  std::vector<float> weights(2000, static_cast<float>(step));
  const TensorEntry entry{"weight", DType::kF32, {2000}, weights.data()};
  CheckpointWriter writer(run_dir, step);
  writer.AddTensors("model.safetensors", {&entry, 1});
  writer.AddFile("state.json", "{\"step\": " + std::to_string(step) + "}");
  writer.AddFile("mark.txt", [&](ByteSink& sink) { sink.Write(mark); });
  return writer.Commit();
}

std::vector<idx_t> Steps(const fs::path& run_dir) {
  std::vector<idx_t> steps;
  for (const CheckpointInfo& info : ListCheckpoints(run_dir)) steps.push_back(info.step);
  return steps;
}

TEST(Checksum, IsXxh128) {
  EXPECT_EQ(ChecksumOf(""), "99aa06d3014798d86001c324468d497f");
  Checksum pieces;
  pieces.Update("ab", 2);
  pieces.Update("c", 1);
  EXPECT_EQ(pieces.Hex(), ChecksumOf("abc"));
}

TEST(Checkpoint, IsWrittenAndVerified) {
  const TempDir dir;
  EXPECT_TRUE(ListCheckpoints(dir.path()).empty());
  EXPECT_EQ(LatestValidCheckpoint(dir.path(), nullptr), std::nullopt);
  const fs::path path = Save(dir.path(), 10);
  EXPECT_EQ(path, dir / "checkpoint-10");
  EXPECT_NO_THROW(VerifyCheckpoint(path));
  EXPECT_EQ(Listing(path), "manifest.json mark.txt model.safetensors state.json");
  EXPECT_EQ(SafetensorsFile::Open(path / "model.safetensors").ReadFloat("weight").size(), 2000);
  Save(dir.path(), 9);
  Save(dir.path(), 100);
  EXPECT_EQ(Steps(dir.path()), (std::vector<idx_t>{9, 10, 100}));
  EXPECT_EQ(LatestValidCheckpoint(dir.path(), nullptr)->step, 100);
  EXPECT_EQ(Listing(dir.path()), "checkpoint-10 checkpoint-100 checkpoint-9");
}

TEST(Checkpoint, TheManifestIsReadable) {
  const TempDir dir;
  CheckpointWriter writer(dir.path(), 3);
  writer.AddFile("b", "");
  writer.AddFile("a", "abc");
  const std::string body =
      "{\n  \"format\": \"longspan-checkpoint\",\n  \"version\": 1,\n  \"step\": 3,\n"
      "  \"files\": [\n"
      "    {\"name\": \"a\", \"bytes\": 3, \"xxh128\": \"" +
      ChecksumOf("abc") +
      "\"},\n"
      "    {\"name\": \"b\", \"bytes\": 0, \"xxh128\": \"99aa06d3014798d86001c324468d497f\"}\n"
      "  ],\n";
  EXPECT_EQ(GetFile(writer.Commit() / "manifest.json"),
            body + "  \"checksum\": \"" + ChecksumOf(body) + "\"\n}\n");
}

TEST(Checkpoint, OnlyCommittedNamesCount) {
  const TempDir dir;
  for (const char* name : {"checkpoint-", "checkpoint-01", "checkpoint-x", "checkpoint--1",
                           "checkpoint-1 ", "xcheckpoint-1", "checkpoint-99999999999999999999"}) {
    fs::create_directory(dir / name);
  }
  PutFile(dir / "checkpoint-5", "a file");
  EXPECT_TRUE(ListCheckpoints(dir.path()).empty());
  EXPECT_TRUE(Throws([&] { ListCheckpoints(dir / "none"); }, ErrorCode::kIo, "No such file"));
}

TEST(Checkpoint, UncommittedLeavesNothing) {
  const TempDir dir;
  {
    CheckpointWriter writer(dir.path(), 1);
    writer.AddFile("a", "text");
    EXPECT_EQ(Listing(dir.path()), ".tmp-checkpoint-1");
    EXPECT_TRUE(ListCheckpoints(dir.path()).empty());
  }
  EXPECT_EQ(Listing(dir.path()), "");
}

TEST(Checkpoint, BadArguments) {
  const TempDir dir;
  const auto usage = [](const std::function<void()>& action, std::string_view fragment) {
    return Throws(action, ErrorCode::kUsage, fragment);
  };
  EXPECT_TRUE(usage([&] { CheckpointWriter(dir.path(), -1); }, "step is -1"));
  CheckpointWriter writer(dir.path(), 1);
  for (const char* name : {"", ".", "..", "a/b", "../a", ".hidden", "manifest.json", "a b"}) {
    EXPECT_TRUE(usage([&] { writer.AddFile(name, "x"); }, "cannot be the name")) << name;
  }
  writer.AddFile("a", "x");
  EXPECT_TRUE(usage([&] { writer.AddFile("a", "x"); }, "a is added twice"));
  writer.Commit();
  EXPECT_TRUE(usage([&] { writer.AddFile("b", "x"); }, "after the commit"));
  EXPECT_TRUE(usage([&] { writer.Commit(); }, "cannot be committed"));
  EXPECT_TRUE(usage([&] { RotateCheckpoints(dir.path(), 1, {}); }, "keep_last is 1"));
  EXPECT_TRUE(Throws([&] { CheckpointWriter(dir / "none", 1); }, ErrorCode::kIo, "No such file"));
}

// What somebody else wrote into the unfinished folder counts as the rest does, with its folders.
TEST(Checkpoint, FilesThatAreWrittenThereBelongToIt) {
  const TempDir dir;
  CheckpointWriter writer(dir.path(), 1);
  writer.AddFile("a", "x");
  writer.AddWritten([](const fs::path& folder) {
    PutFile(folder / "b", "y");
    fs::create_directory(folder / "1_Pooling");
    PutFile(folder / "1_Pooling" / "config.json", "{}");
  });
  writer.AddFile("c", "z");
  const fs::path path = writer.Commit();
  VerifyCheckpoint(path);
  EXPECT_TRUE(IsCheckpoint(path));
  PutFile(path / "1_Pooling" / "config.json", "[]");
  EXPECT_TRUE(Throws([&] { VerifyCheckpoint(path); }, ErrorCode::kFormat, "1_Pooling/config.json"));
  EXPECT_TRUE(IsCheckpoint(path)) << "damaged, but the run's";
  PutFile(path / "1_Pooling" / "other", "");
  EXPECT_FALSE(IsCheckpoint(path));
  fs::remove(path / "1_Pooling" / "other");
  fs::create_directory(path / "empty");
  EXPECT_FALSE(IsCheckpoint(path));
  for (const char* bad : {"deep/er/c", ".hidden", "a b", "f/manifest file"}) {
    CheckpointWriter refused(dir.path(), 2);
    const auto write = [&](const fs::path& folder) {
      fs::create_directories((folder / bad).parent_path());
      PutFile(folder / bad, "x");
    };
    EXPECT_TRUE(Throws([&] { refused.AddWritten(write); }, ErrorCode::kUsage, "cannot be the name"))
        << bad;
  }
}

TEST(Checkpoint, SameStepIsReplaced) {
  const TempDir dir;
  Save(dir.path(), 1, "old");
  Save(dir.path(), 1, "new");
  EXPECT_EQ(Listing(dir.path()), "checkpoint-1");
  EXPECT_EQ(GetFile(dir / "checkpoint-1/mark.txt"), "new");
  EXPECT_NO_THROW(VerifyCheckpoint(dir / "checkpoint-1"));
}

// --- Damage -----------------------------------------------------------------------------------

class Damage : public testing::Test {
 protected:
  Damage() : newest_(dir_ / "checkpoint-2") {
    Save(dir_.path(), 1);
    Save(dir_.path(), 2);
  }
  // The newest is refused and the one before is found, with a warning that names the file.
  void ExpectDetected(const std::string& file) {
    ASSERT_TRUE(Throws([&] { VerifyCheckpoint(newest_); }, ErrorCode::kFormat, file));
    std::vector<std::string> warnings;
    ASSERT_EQ(LatestValidCheckpoint(dir_.path(), &warnings)->step, 1);
    ASSERT_EQ(warnings.size(), 1u);
    ASSERT_NE(warnings[0].find(file), std::string::npos) << warnings[0];
  }

  static constexpr const char* kFiles[] = {"manifest.json", "mark.txt", "model.safetensors",
                                           "state.json"};
  TempDir dir_;
  fs::path newest_;
};

TEST_F(Damage, EveryBitFlip) {
  Rng rng(3);
  for (const char* file : kFiles) {
    const std::string whole = GetFile(newest_ / file);
    const idx_t bits = static_cast<idx_t>(whole.size()) * 8;
    const idx_t rounds = std::min<idx_t>(bits, 1000);  // small files: every bit
    for (idx_t i = 0; i < rounds; ++i) {
      const auto bit = static_cast<std::size_t>(bits <= 1000 ? i : rng.Below(bits));
      std::string damaged = whole;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      PutFile(newest_ / file, damaged);
      ASSERT_TRUE(Throws([&] { VerifyCheckpoint(newest_); }, ErrorCode::kFormat, ""))
          << file << " " << bit;
    }
    PutFile(newest_ / file, whole.substr(0, whole.size() / 2) + "#");
    ExpectDetected(file);
    PutFile(newest_ / file, whole);
    ASSERT_NO_THROW(VerifyCheckpoint(newest_));
  }
}

TEST_F(Damage, EveryTruncation) {
  for (const char* file : kFiles) {
    const std::string whole = GetFile(newest_ / file);
    const std::size_t step = std::max<std::size_t>(1, whole.size() / 200);
    for (std::size_t n = 0; n < whole.size(); n += step) {
      PutFile(newest_ / file, whole.substr(0, n));
      ASSERT_TRUE(Throws([&] { VerifyCheckpoint(newest_); }, ErrorCode::kFormat, file)) << n;
    }
    PutFile(newest_ / file, whole + "x");
    ExpectDetected(file);
    PutFile(newest_ / file, std::string(whole.size(), '\0'));
    ExpectDetected(file);
    PutFile(newest_ / file, whole);
  }
}

TEST_F(Damage, EveryMissingFile) {
  for (const char* file : kFiles) {
    fs::rename(newest_ / file, dir_ / "aside");
    ExpectDetected(file);
    fs::rename(dir_ / "aside", newest_ / file);
  }
  fs::remove_all(newest_);
  fs::create_directory(newest_);
  ExpectDetected("manifest.json");
}

// What takes a file's place without being one is damage like any other, and is never waited for.
TEST_F(Damage, EveryFileThatCannotBeRead) {
  const std::pair<const char*, std::function<void(const fs::path&)>> kinds[] = {
      {"a directory", [](const fs::path& path) { fs::create_directory(path); }},
      {"a FIFO", [](const fs::path& path) { ASSERT_EQ(mkfifo(path.c_str(), 0600), 0); }},
      {"a socket",
       [](const fs::path& path) { ASSERT_EQ(mknod(path.c_str(), S_IFSOCK | 0600, 0), 0); }},
      {"No such file", [](const fs::path& path) { fs::create_symlink("nowhere", path); }},
      {"Too many levels", [](const fs::path& path) { fs::create_symlink(path, path); }},
  };
  for (const char* file : kFiles) {
    for (const auto& [reason, make] : kinds) {
      fs::rename(newest_ / file, dir_ / "aside");
      make(newest_ / file);
      std::vector<std::string> warnings;
      ASSERT_EQ(LatestValidCheckpoint(dir_.path(), &warnings)->step, 1);
      ASSERT_EQ(warnings.size(), 1u);
      EXPECT_NE(warnings[0].find(file), std::string::npos) << warnings[0];
      EXPECT_NE(warnings[0].find(reason), std::string::npos) << warnings[0];
      fs::remove(newest_ / file);
      fs::rename(dir_ / "aside", newest_ / file);
    }
  }
}

TEST_F(Damage, ANameThatIsNoFolder) {
  PutFile(dir_ / "checkpoint-3", "a file");
  fs::create_symlink("nowhere", dir_ / "checkpoint-4");
  std::vector<std::string> warnings;
  EXPECT_EQ(LatestValidCheckpoint(dir_.path(), &warnings)->step, 2);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_NE(warnings[1].find("checkpoint-3: no checkpoint folder"), std::string::npos);
  for (const idx_t step : {3, 4}) Save(dir_.path(), step);  // which takes its name back
  EXPECT_EQ(Listing(dir_.path()), "checkpoint-1 checkpoint-2 checkpoint-3 checkpoint-4");
  EXPECT_EQ(LatestValidCheckpoint(dir_.path(), nullptr)->step, 4);
}

TEST_F(Damage, NothingReadableIsAnIoError) {
  for (const char* name : {"checkpoint-1", "checkpoint-2"}) {
    fs::remove(dir_ / name / "mark.txt");
    fs::create_directory(dir_ / name / "mark.txt");
  }
  EXPECT_TRUE(Throws([&] { LatestValidCheckpoint(dir_.path(), nullptr); }, ErrorCode::kIo,
                     "none of its 2 checkpoints is whole; the newest: "));
  fs::remove(dir_ / "checkpoint-1/mark.txt");
  EXPECT_TRUE(
      Throws([&] { LatestValidCheckpoint(dir_.path(), nullptr); }, ErrorCode::kFormat, "none of"));
}

TEST_F(Damage, AForeignManifest) {
  fs::remove_all(newest_);
  fs::copy(dir_ / "checkpoint-1", newest_);
  ASSERT_TRUE(Throws([&] { VerifyCheckpoint(newest_); }, ErrorCode::kFormat, "says step 1"));
  fs::copy(dir_ / "checkpoint-1", dir_ / "renamed");  // under no number: fine
  EXPECT_NO_THROW(VerifyCheckpoint(dir_ / "renamed"));
}

TEST_F(Damage, EverythingDamagedIsAnError) {
  fs::remove(dir_ / "checkpoint-1/mark.txt");
  fs::remove(dir_ / "checkpoint-2/state.json");
  std::vector<std::string> warnings;
  EXPECT_TRUE(Throws([&] { LatestValidCheckpoint(dir_.path(), &warnings); }, ErrorCode::kFormat,
                     "none of its 2 checkpoints is whole; the newest: "));
  EXPECT_EQ(warnings.size(), 2u);
}

TEST_F(Damage, AFailedWriteKeepsTheOld) {
  std::vector<float> weights(100'000);
  const TensorEntry entry{"weight", DType::kF32, {100'000}, weights.data()};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit lowered{65536, before.rlim_max};
  {
    CheckpointWriter writer(dir_.path(), 3);
    writer.AddFile("a", "x");
    setrlimit(RLIMIT_FSIZE, &lowered);
    EXPECT_TRUE(Throws(
        [&] {
          writer.AddTensors("model.safetensors", {&entry, 1});
        },
        ErrorCode::kIo, "File too large (400"));
    setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_TRUE(Throws([&] { writer.AddFile("b", "x"); }, ErrorCode::kUsage, "failed write"));
    EXPECT_TRUE(Throws([&] { writer.Commit(); }, ErrorCode::kUsage, "a write failed"));
  }
  signal(SIGXFSZ, handler);
  EXPECT_EQ(Listing(dir_.path()), "checkpoint-1 checkpoint-2");
  EXPECT_EQ(LatestValidCheckpoint(dir_.path(), nullptr)->step, 2);
}

TEST_F(Damage, AFolderThatVanishesIsAnError) {
  CheckpointWriter writer(dir_.path(), 3);
  writer.AddFile("a", "x");
  fs::remove_all(dir_ / ".tmp-checkpoint-3");
  EXPECT_TRUE(Throws([&] { writer.AddFile("b", "x"); }, ErrorCode::kIo, "No such file"));
}

// --- Rotation ---------------------------------------------------------------------------------

TEST(Rotation, KeepsTheNewestAndTheBest) {
  const TempDir dir;
  for (idx_t step = 1; step <= 6; ++step) Save(dir.path(), step);
  RotateCheckpoints(dir.path(), 3, 2);
  EXPECT_EQ(Steps(dir.path()), (std::vector<idx_t>{2, 4, 5, 6}));
  RotateCheckpoints(dir.path(), 2, 6);
  EXPECT_EQ(Steps(dir.path()), (std::vector<idx_t>{5, 6}));
  RotateCheckpoints(dir.path(), 10, {});
  EXPECT_EQ(Listing(dir.path()), "checkpoint-5 checkpoint-6");
}

TEST(Rotation, TheBestIsNoted) {
  const TempDir dir;
  WriteBest(dir.path(), {40, "eval_loss", 1.0 / 3.0});
  const nlohmann::json best = ReadJsonFile(dir / "best.json");
  const nlohmann::json wanted = {{"step", 40}, {"metric", "eval_loss"}, {"value", 1.0 / 3.0}};
  EXPECT_EQ(best, wanted);
}

// --- Crashes ----------------------------------------------------------------------------------

// What a crash leaves between two steps, put there by hand.
TEST(Crash, StatesInBetween) {
  const TempDir dir;
  Save(dir.path(), 1);
  Save(dir.path(), 2, "old");
  const fs::path other = dir / "other";
  fs::create_directory(other);
  const fs::path fresh = Save(other, 2, "new");
  const auto expect = [&](const std::string& listing, const std::string& mark) {
    RecoverRunDirectory(dir.path());
    EXPECT_EQ(Listing(dir.path()), listing);
    EXPECT_EQ(LatestValidCheckpoint(dir.path(), nullptr)->step, 2);
    EXPECT_EQ(GetFile(dir / "checkpoint-2/mark.txt"), mark);
    EXPECT_NO_THROW(VerifyCheckpoint(dir / "checkpoint-2"));
  };
  const std::string settled = "checkpoint-1 checkpoint-2 other";
  fs::create_directory(dir / ".tmp-checkpoint-3");  // killed before the first file
  expect(settled, "old");
  fs::create_directory(dir / ".tmp-checkpoint-3");  // inside a file
  PutFile(dir / ".tmp-checkpoint-3/state.json", "{\"st");
  expect(settled, "old");
  fs::copy(fresh, dir / ".tmp-checkpoint-2");  // all but the renames
  expect(settled, "old");
  fs::copy(fresh, dir / ".tmp-checkpoint-2");  // between the two renames
  fs::rename(dir / "checkpoint-2", dir / ".old-checkpoint-2");
  expect(settled, "old");
  fs::rename(dir / "checkpoint-2", dir / ".old-checkpoint-2");  // after both
  fs::copy(fresh, dir / "checkpoint-2");
  expect(settled, "new");
  fs::copy(fresh, dir / ".trash-checkpoint-0");  // inside a removal
  fs::remove(dir / ".trash-checkpoint-0/manifest.json");
  PutFile(dir / ".longspan-tmp-1-1", "{");
  expect(settled, "new");
}

enum class Fate { kKilled, kFinished, kNoTracing };

// Runs `work` in a child and kills it before its n-th system call takes effect.
Fate KillAtSystemCall(int n, const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(77);
    raise(SIGSTOP);
    try {
      work();
    } catch (...) {
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFSTOPPED(status)) return Fate::kNoTracing;
  ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  bool entering = true;
  for (int calls = 0;;) {
    ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      return Fate::kFinished;
    }
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
    if (entering && ++calls == n) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return Fate::kKilled;
    }
    entering = !entering;
  }
}

// Every system call of save, best, rotate: the previous or the new state, both whole.
TEST(Crash, KilledAtEverySystemCall) {
  for (int n = 1;; ++n) {
    ASSERT_LT(n, 2000);
    const TempDir dir;
    for (const idx_t step : {1, 2}) Save(dir.path(), step);
    const Fate fate = KillAtSystemCall(n, [&] {
      CheckpointWriter writer(dir.path(), 3);
      writer.AddFile("mark.txt", "new");
      writer.Commit();
      PutFile(dir / "said-saved", "");
      WriteBest(dir.path(), {3, "eval_loss", 0.5});
      RotateCheckpoints(dir.path(), 2, 3);
    });
    if (fate == Fate::kNoTracing) GTEST_SKIP() << "processes may not be traced here";
    for (const bool recovered : {false, true}) {
      if (recovered) RecoverRunDirectory(dir.path());
      std::vector<std::string> warnings;
      const auto latest = LatestValidCheckpoint(dir.path(), &warnings);
      ASSERT_TRUE(latest.has_value());
      ASSERT_TRUE(warnings.empty()) << n << ": " << warnings[0];
      ASSERT_GE(latest->step, fs::exists(dir / "said-saved") ? 3 : 2) << n;
      ASSERT_GE(ListCheckpoints(dir.path()).size(), 2u) << n;
      for (const CheckpointInfo& info : ListCheckpoints(dir.path())) VerifyCheckpoint(info.path);
      if (Exists(dir / "best.json")) {
        ASSERT_NO_THROW(ReadJsonFile(dir / "best.json")) << n;
      }
    }
    ASSERT_EQ(Listing(dir.path()).find(".t"), std::string::npos) << Listing(dir.path());
    if (fate == Fate::kFinished) break;
  }
}

TEST(Crash, KilledAtEverySystemCallOfAReplacement) {
  for (int n = 1;; ++n) {
    ASSERT_LT(n, 2000);
    const TempDir dir;
    Save(dir.path(), 1);
    Save(dir.path(), 2, "old");
    const Fate fate = KillAtSystemCall(n, [&] { Save(dir.path(), 2, "new"); });
    if (fate == Fate::kNoTracing) GTEST_SKIP() << "processes may not be traced here";
    RecoverRunDirectory(dir.path());
    ASSERT_EQ(Listing(dir.path()), "checkpoint-1 checkpoint-2") << n;
    ASSERT_EQ(LatestValidCheckpoint(dir.path(), nullptr)->step, 2) << n;
    const std::string mark = GetFile(dir / "checkpoint-2/mark.txt");
    ASSERT_TRUE(mark == "old" || mark == "new") << n << mark;
    if (fate == Fate::kFinished) {
      EXPECT_EQ(mark, "new");
      break;
    }
  }
}

// --- Lock -------------------------------------------------------------------------------------

TEST(Lock, SecondOwnerIsTurnedAway) {
  const TempDir dir;
  {
    const DirectoryLock lock(dir.path());
    EXPECT_TRUE(Throws([&] { DirectoryLock second(dir.path()); }, ErrorCode::kLocked,
                       "(pid " + std::to_string(getpid()) + ")"));
  }
  DirectoryLock again(dir.path());
  const DirectoryLock moved = std::move(again);
  EXPECT_TRUE(Throws([&] { DirectoryLock second(dir.path()); }, ErrorCode::kLocked, "in use"));
  EXPECT_TRUE(Throws([&] { DirectoryLock lock(dir / "none"); }, ErrorCode::kIo, "No such file"));
}

TEST(Lock, DiesWithItsOwner) {
  const TempDir dir;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const DirectoryLock lock(dir.path());
    if (write(ready[1], "x", 1) == 1) pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(Throws([&] { DirectoryLock lock(dir.path()); }, ErrorCode::kLocked,
                     "pid " + std::to_string(child)));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_NO_THROW(DirectoryLock lock(dir.path()));
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace longspan::io
