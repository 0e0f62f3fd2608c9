// A run's folder: its lock and the note of its best checkpoint.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/json.h"
#include "io/paths.h"
#include "io/posix.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockName = ".longspan-lock";
constexpr const char* kBestName = "best.json";

// The pid that the lock's owner has written, as text; "unknown" when there is none.
std::string OwnerOf(int fd) {
  char text[24] = {};
  const ssize_t got = Again([&] { return pread(fd, text, sizeof(text) - 1, 0); });
  std::string pid;
  for (ssize_t i = 0; i < got && text[i] >= '0' && text[i] <= '9'; ++i) pid += text[i];
  return pid.empty() ? "unknown" : pid;
}

}  // namespace

DirectoryLock::DirectoryLock(const fs::path& directory) {
  const fs::path path = directory / kLockName;
  fd_ = Again([&] { return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666); });
  if (fd_ < 0) FailSystem(path, "open", errno);
  const int error = Again([&] { return flock(fd_, LOCK_EX | LOCK_NB); }) == 0 ? 0 : errno;
  if (error == 0) {
    // Only a note for whoever comes second; the lock holds without it.
    const std::string pid = fmt::format("{}\n", getpid());
    if (Again([&] { return ftruncate(fd_, 0); }) == 0) {
      Again([&] { return pwrite(fd_, pid.data(), pid.size(), 0); });
    }
    return;
  }
  const std::string owner = OwnerOf(fd_);
  close(std::exchange(fd_, -1));
  if (error != EWOULDBLOCK) FailSystem(path, "lock", error);
  Fail(ErrorCode::kLocked, "{}: in use by another process (pid {})", PathText(directory), owner);
}

DirectoryLock::DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

DirectoryLock::~DirectoryLock() {
  if (fd_ < 0) return;
  // The file stays: removing it would let two processes lock two files of one name.
  Again([&] { return ftruncate(fd_, 0); });
  close(fd_);
}

void WriteBest(const fs::path& run_dir, const BestCheckpoint& best) {
  const nlohmann::json document = {
      {"step", best.step}, {"metric", best.metric}, {"value", best.value}};
  WriteFileAtomic(run_dir / kBestName, DumpJson(document));
}

}  // namespace longspan::io
