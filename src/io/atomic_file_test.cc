#include "io/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <thread>

#include "io/posix.h"
#include "tests/support/files.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;
using test::GetFile;
using test::Listing;
using test::PutFile;
using test::TempDir;
using test::Throws;

constexpr ErrorCode kIo = ErrorCode::kIo;

// While it lives no file may grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit lowered{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &lowered);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  sighandler_t handler_;
  rlimit before_{};
};

TEST(AtomicFile, WritesAHeaderAtTheEnd) {
  const TempDir dir;
  AtomicFile file(dir / "x");
  file.Write("?? rest");
  file.WriteAt(0, "ab");
  file.WriteAt(7, "");
  EXPECT_TRUE(Throws([&] { file.WriteAt(6, "ab"); }, ErrorCode::kUsage,
                     "bytes 6 to 8 have not been written"));
  file.Commit();
  EXPECT_EQ(GetFile(dir / "x"), "ab rest");
  EXPECT_TRUE(Throws([&] { file.WriteAt(0, "a"); }, kIo, "it is committed"));
}

TEST(AtomicFile, FilesThatBelongTogether) {
  const TempDir dir;
  const auto write = [&](const char* text) {
    AtomicFile ids(dir / "ids"), data(dir / "data");
    ids.Write(text);
    data.Write(text);
    AtomicFile* const files[] = {&ids, &data};
    CommitTogether(files);
  };
  write("first");
  EXPECT_EQ(Listing(dir.path()), "data ids");
  write("second");
  EXPECT_EQ(Listing(dir.path()), "data ids");
  EXPECT_EQ(GetFile(dir / "ids") + GetFile(dir / "data"), "secondsecond");
  {  // without Commit nothing of either
    AtomicFile ids(dir / "ids"), data(dir / "data");
    ids.Write("third");
  }
  EXPECT_EQ(GetFile(dir / "ids") + GetFile(dir / "data"), "secondsecond");
  {  // the last one cannot be put into place: the older ones are back
    fs::create_directory(dir / "sub");
    AtomicFile ids(dir / "ids"), data(dir / "data"), lost(dir / "sub/lost");
    ids.Write("third");
    fs::remove_all(dir / "sub");
    AtomicFile* const files[] = {&ids, &data, &lost};
    EXPECT_TRUE(Throws([&] { CommitTogether(files); }, kIo, "sub/lost: cannot rename into place"));
  }
  EXPECT_EQ(Listing(dir.path()), "data ids");
  EXPECT_EQ(GetFile(dir / "ids"), "second");
  EXPECT_EQ(GetFile(dir / "data"), "second");
}

TEST(AtomicFile, AppearsWhole) {
  const TempDir dir;
  const fs::path path = dir / "x";
  WriteFileAtomic(path, "first");
  EXPECT_EQ(GetFile(path), "first");
  {
    AtomicFile file(path);
    file.Write("sec");
    EXPECT_EQ(GetFile(path), "first");
    file.Write("ond");
    file.Commit();
  }
  EXPECT_EQ(GetFile(path), "second");
  WriteFileAtomic(path, [](ByteSink& sink) { sink.Write("third"); });
  EXPECT_EQ(GetFile(path), "third");
  WriteFileAtomic(path, "");
  EXPECT_EQ(GetFile(path), "");
  EXPECT_EQ(Listing(dir.path()), "x");
  EXPECT_EQ(fs::status(path).permissions() & fs::perms::owner_all,
            fs::perms::owner_read | fs::perms::owner_write);
}

TEST(AtomicFile, WithoutCommitNothingHappens) {
  const TempDir dir;
  const fs::path path = PutFile(dir / "x", "old");
  {
    AtomicFile file(path, 1000);
    file.Write("new");
  }
  EXPECT_EQ(GetFile(path), "old");
  EXPECT_THROW(WriteFileAtomic(path, [](ByteSink&) { throw std::runtime_error("writer"); }),
               std::runtime_error);
  EXPECT_EQ(GetFile(path), "old");
  EXPECT_EQ(Listing(dir.path()), "x");
}

TEST(AtomicFile, AReservationIsNoLength) {
  const TempDir dir;
  for (const std::uint64_t expected : {std::uint64_t{1}, std::uint64_t{100'000}}) {
    AtomicFile file(dir / "x", expected);
    file.Write("four");
    file.Commit();
    EXPECT_EQ(GetFile(dir / "x"), "four");
  }
}

TEST(AtomicFile, FileSizeLimitKeepsTheOld) {
  const TempDir dir;
  const fs::path path = PutFile(dir / "x", "old");
  const std::string large(200'000, 'x');
  {
    const FileSizeLimit limit(65536);
    EXPECT_TRUE(Throws([&] { WriteFileAtomic(path, large); }, kIo, "200000 bytes needed"));
    EXPECT_TRUE(Throws([&] { WriteFileAtomic(path, [&](ByteSink& sink) { sink.Write(large); }); },
                       kIo, "File too large"));
    AtomicFile file(path);
    EXPECT_TRUE(Throws([&] { file.Write(large); }, kIo, "File too large"));
    EXPECT_TRUE(Throws([&] { file.Write("more"); }, kIo, "an earlier step failed"));
    EXPECT_TRUE(Throws([&] { file.Commit(); }, kIo, "an earlier step failed"));
    EXPECT_EQ(Listing(dir.path()), "x");
  }
  EXPECT_EQ(GetFile(path), "old");
  WriteFileAtomic(path, large);
  EXPECT_EQ(GetFile(path), large);
}

TEST(AtomicFile, FullDiskIsNoticedAtOnce) {
  const TempDir dir;
  const fs::path path = PutFile(dir / "x", "old");
  const auto free_bytes = fs::space(dir.path()).free;
  try {
    AtomicFile file(path, free_bytes + (std::uint64_t{1} << 40));
    GTEST_SKIP() << "this file system does not reserve space";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), kIo);
    EXPECT_NE(std::string(error.what()).find(" bytes needed"), std::string::npos) << error.what();
  }
  EXPECT_EQ(GetFile(path), "old");
  EXPECT_EQ(Listing(dir.path()), "x");
}

TEST(AtomicFile, FullDeviceIsReported) {
  const int full = open("/dev/full", O_WRONLY);
  ASSERT_GE(full, 0);
  EXPECT_TRUE(Throws([&] { WriteAll(full, "text", 4, "/dev/full", 4); }, kIo,
                     "No space left on device (4 bytes needed"));
  close(full);
}

TEST(AtomicFile, BadTargets) {
  const TempDir dir;
  const auto refuses = [&](const fs::path& path, std::string_view fragment) {
    return Throws([&] { WriteFileAtomic(path, "text"); }, kIo, fragment);
  };
  EXPECT_TRUE(refuses(dir / "none/x", "No such file"));
  EXPECT_TRUE(refuses(dir.path(), "it is a directory"));
  EXPECT_TRUE(refuses(dir.path() / "", "names no file"));
  EXPECT_TRUE(refuses("/dev/full", "it is a device"));
  EXPECT_TRUE(refuses(dir / std::string(300, 'n'), "File name too long"));
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_TRUE(refuses(dir / "fifo", "it is a FIFO"));
  PutFile(dir / "file", "");
  EXPECT_TRUE(refuses(dir / "file/x", "Not a directory"));
  for (const char* to : {"file", "nowhere", "/proc/self/fd/1"}) {  // the last is /dev/stdout
    fs::create_symlink(to, dir / "link");
    EXPECT_TRUE(refuses(dir / "link", "it is a link")) << to;
    EXPECT_EQ(fs::read_symlink(dir / "link"), to);
    fs::remove(dir / "link");
  }
  // The longest name that the system takes is written all the same.
  EXPECT_NO_THROW(WriteFileAtomic(dir / std::string(255, 'n'), "text"));
  EXPECT_EQ(Listing(dir.path()), "fifo file " + std::string(255, 'n'));
}

TEST(AtomicFile, RelativePaths) {
  const TempDir dir;
  const fs::path before = fs::current_path();
  fs::current_path(dir.path());
  WriteFileAtomic("x", "text");
  fs::current_path(before);
  EXPECT_EQ(GetFile(dir / "x"), "text");
}

TEST(Again, RepeatsInterruptedCallsOnly) {
  int calls = 0;
  const auto interrupted = [&] {
    errno = ++calls < 3 ? EINTR : EIO;
    return -1;
  };
  EXPECT_EQ(Again(interrupted), -1);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(errno, EIO);
  std::error_code error;
  const auto listed = [&] {
    error = std::make_error_code(++calls < 6 ? std::errc::interrupted : std::errc::io_error);
    return calls;
  };
  EXPECT_EQ(Again(error, listed), 6);
  EXPECT_EQ(error, std::errc::io_error);
}

// A pipe and a timer make every write short or interrupted.
TEST(AtomicFile, ShortAndInterruptedWritesContinue) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  struct sigaction action {
  }, old{};
  action.sa_handler = [](int) {};  // no SA_RESTART
  sigaction(SIGALRM, &action, &old);
  // The reader must not be the one that the timer interrupts.
  sigset_t alarm_only;
  sigemptyset(&alarm_only);
  sigaddset(&alarm_only, SIGALRM);
  pthread_sigmask(SIG_BLOCK, &alarm_only, nullptr);
  std::string received;
  std::thread reader([&] {
    char piece[3000];
    ssize_t got;
    while ((got = read(ends[0], piece, sizeof(piece))) > 0) {
      received.append(piece, static_cast<std::size_t>(got));
      usleep(20);
    }
  });
  pthread_sigmask(SIG_UNBLOCK, &alarm_only, nullptr);
  const itimerval often{{0, 500}, {0, 500}}, never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  std::string text(2'000'000, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31 / 7);
  WriteAll(ends[1], text.data(), text.size(), "pipe", 0);
  setitimer(ITIMER_REAL, &never, nullptr);
  close(ends[1]);
  reader.join();
  close(ends[0]);
  sigaction(SIGALRM, &old, nullptr);
  EXPECT_EQ(received, text);
}

TEST(WritableDirectory, IsCreatedAndProven) {
  const TempDir dir;
  EnsureWritableDirectory(dir / "a/b/c");
  EXPECT_EQ(Listing(dir / "a/b/c"), "");
  EnsureWritableDirectory(dir / "a/b/c");
  EXPECT_TRUE(Throws([&] { SyncDirectory(dir / "none"); }, kIo, "No such file"));
  PutFile(dir / "file", "");
  EXPECT_TRUE(Throws([&] { EnsureWritableDirectory(dir / "file"); }, kIo, "file: "));
  EXPECT_TRUE(Throws([&] { EnsureWritableDirectory(dir / "file/x"); }, kIo, "Not a directory"));
  EXPECT_TRUE(Throws([&] { EnsureWritableDirectory("/proc/longspan"); }, kIo, "/proc/longspan"));
  EXPECT_TRUE(Throws([&] { EnsureWritableDirectory(dir / std::string(300, 'n')); }, kIo,
                     "File name too long"));
  const FileSizeLimit limit(0);  // the directory is there, nothing can be written
  EXPECT_TRUE(Throws([&] { EnsureWritableDirectory(dir / "a"); }, kIo, "File too large"));
}

}  // namespace
}  // namespace longspan::io
