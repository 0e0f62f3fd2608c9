#include "io/temporaries.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>

#include "base/errors.h"
#include "io/paths.h"
#include "io/posix.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryPrefix = ".longspan-tmp-";
constexpr std::string_view kHiddenPrefix = ".longspan-old-";
constexpr int kMostNames = 1000;  // that are tried: others of this process id crashed here

std::atomic<unsigned> name_counter{0};

int OpenEntry(const fs::path& path) {
  return Again([&] {
    return open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
  });
}

// 0, EWOULDBLOCK when another one holds the lock, or the reason why there are no locks here.
int TryLock(int fd) {
  return Again([&] { return flock(fd, LOCK_EX | LOCK_NB); }) == 0 ? 0 : errno;
}

// Whether `path` is still the name of what `fd` has open.
bool IsNameOf(const fs::path& path, int fd) {
  struct stat named {
  }, opened{};
  return Again([&] { return lstat(path.c_str(), &named); }) == 0 &&
         Again([&] { return fstat(fd, &opened); }) == 0 && named.st_dev == opened.st_dev &&
         named.st_ino == opened.st_ino;
}

void RemoveQuietly(const fs::path& path) noexcept {
  std::error_code ignored;
  Again(ignored, [&] { fs::remove_all(path, ignored); });
}

// Takes digits and the `end` behind them off the front of `name`.
bool SkipNumber(std::string_view* name, std::string_view end) {
  const std::size_t digits = std::min(name->find_first_not_of("0123456789"), name->size());
  if (digits == 0 || !name->substr(digits).starts_with(end)) return false;
  name->remove_prefix(digits + end.size());
  return true;
}

// Names that Temporary and ProbePath give: <pid>-<n>, <pid>-dir-<n>, probe-<pid>.
bool IsTemporaryName(std::string_view name) {
  if (!name.starts_with(kTemporaryPrefix)) return false;
  name.remove_prefix(kTemporaryPrefix.size());
  if (name.starts_with("probe-")) {
    name.remove_prefix(6);
  } else {
    if (!SkipNumber(&name, "-")) return false;
    if (name.starts_with("dir-")) name.remove_prefix(4);
  }
  return SkipNumber(&name, "") && name.empty();
}

// What HiddenFile hid under `name`; empty for other names.
std::string_view HiddenName(std::string_view name) {
  if (!name.starts_with(kHiddenPrefix)) return {};
  name.remove_prefix(kHiddenPrefix.size());
  return SkipNumber(&name, "-") && SkipNumber(&name, "-") ? name : std::string_view();
}

// Whether the hidden file is to stay: it has its name again, or that cannot be known.
bool PutBackUnlessReplaced(const fs::path& hidden, const fs::path& target) {
  return Again([&] {
           return renameat2(AT_FDCWD, hidden.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE);
         }) == 0 ||
         errno != EEXIST;
}

void RemoveIfStale(const fs::path& folder, const std::string& name) {
  const std::string_view hidden = HiddenName(name);
  if (hidden.empty() && !IsTemporaryName(name)) return;
  const fs::path path = folder / name;
  const int fd = OpenEntry(path);
  if (fd < 0) return;
  struct stat status {};
  const bool is_ours = Again([&] { return fstat(fd, &status); }) == 0 &&
                       (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));
  // Behind the lock the name is looked at again: a writer may have finished in between.
  if (is_ours && TryLock(fd) == 0 && IsNameOf(path, fd)) {
    if (hidden.empty() || !PutBackUnlessReplaced(path, folder / hidden)) RemoveQuietly(path);
  }
  close(fd);
}

}  // namespace

Temporary::Temporary(const fs::path& target, Kind kind) {
  const fs::path folder = FolderOf(target);
  ClearOnce(folder);
  bool lockable = true;
  for (int attempt = 0; attempt < kMostNames; ++attempt) {
    path_ = folder / fmt::format("{}{}-{}{}{}", kTemporaryPrefix, getpid(),
                                 kind == Kind::kFolder ? "dir-" : "", name_counter++,
                                 lockable ? "" : "-unlocked");
    const Try made = Make(kind, target, lockable);
    if (made == Try::kMade) return;
    if (made == Try::kNoLocks) lockable = false;
  }
  path_.clear();
  FailSystem(target, "write", EEXIST);
}

Temporary::Try Temporary::Make(Kind kind, const fs::path& target, bool lockable) {
  entry_.emplace(path_);
  int error = 0;
  if (kind == Kind::kFile) {
    lock_ =
        Again([&] { return open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
    error = lock_ < 0 ? errno : 0;
  } else {
    error = Again([&] { return mkdir(path_.c_str(), 0777); }) == 0 ? 0 : errno;
    if (error == 0) lock_ = OpenEntry(path_);
  }
  if (error != 0) {
    path_.clear();
    entry_.reset();
    if (error != EEXIST) FailSystem(target, kind == Kind::kFile ? "write" : "create", error);
    return Try::kNameTaken;
  }
  entry_->Made();
  if (!lockable) return Try::kMade;
  const int locked = lock_ < 0 ? EBADF : TryLock(lock_);
  // Between its making and its lock somebody may have taken it for a dead writer's.
  if (locked == 0 && IsNameOf(path_, lock_)) return Try::kMade;
  Remove();
  return locked == 0 || locked == EWOULDBLOCK ? Try::kNameTaken : Try::kNoLocks;
}

Temporary::~Temporary() { Remove(); }

void Temporary::Remove() noexcept {
  if (!path_.empty()) RemoveQuietly(path_);
  path_.clear();
  entry_.reset();
  if (lock_ >= 0) close(std::exchange(lock_, -1));
}

int Temporary::OpenForWriting() const {
  const int fd = fcntl(lock_, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) FailSystem(path_, "write", errno);
  return fd;
}

void Temporary::RenameTo(const fs::path& target) {
  entry_->RenameTo(target);
  path_.clear();
  Remove();
}

HiddenFile::HiddenFile(const fs::path& target) : target_(target) {
  hidden_ = FolderOf(target) / fmt::format("{}{}-{}-{}", kHiddenPrefix, getpid(), name_counter++,
                                           target.filename().native());
  lock_ = OpenEntry(target);  // without rights to read it there is no lock and nobody clears it
  if (lock_ >= 0) TryLock(lock_);
  if (Again([&] { return rename(target.c_str(), hidden_.c_str()); }) == 0) return;
  const int error = errno;
  hidden_.clear();
  if (lock_ >= 0) close(std::exchange(lock_, -1));
  if (error != ENOENT) FailSystem(target, "rename", error);
}

HiddenFile::HiddenFile(HiddenFile&& other) noexcept
    : target_(std::move(other.target_)),
      hidden_(std::exchange(other.hidden_, {})),
      lock_(std::exchange(other.lock_, -1)) {}

HiddenFile::~HiddenFile() {
  if (lock_ >= 0) close(lock_);
}

void HiddenFile::PutBack() noexcept {
  if (!hidden_.empty()) Again([&] { return rename(hidden_.c_str(), target_.c_str()); });
  hidden_.clear();
}

void HiddenFile::Remove() noexcept {
  if (!hidden_.empty()) Again([&] { return unlink(hidden_.c_str()); });
  hidden_.clear();
}

fs::path ProbePath(const fs::path& folder) {
  return folder / fmt::format("{}probe-{}", kTemporaryPrefix, getpid());
}

void RemoveStaleTemporaries(const fs::path& folder) {
  for (const std::string& name : ListFolder(folder)) RemoveIfStale(folder, name);
}

void ClearOnce(const fs::path& folder) {
  static std::mutex mutex;
  static std::set<std::pair<ino_t, std::string>> cleared;  // one of the two may be used again
  struct stat status {};
  std::error_code error;
  const fs::path path = fs::absolute(folder, error);
  if (error || Again([&] { return stat(path.c_str(), &status); }) != 0) return;
  {
    const std::lock_guard guard(mutex);
    if (cleared.size() > 4096) cleared.clear();
    if (!cleared.emplace(status.st_ino, path.native()).second) return;
  }
  try {
    RemoveStaleTemporaries(folder);
  } catch (const Error&) {
  }
}

}  // namespace longspan::io
