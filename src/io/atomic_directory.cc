#include "io/atomic_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <vector>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/posix.h"

namespace longspan::io {
namespace {

namespace fs = std::filesystem;

// "out/" means "out": a rename needs the name without the slash.
fs::path WithoutSlash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

AtomicDirectory::AtomicDirectory(const fs::path& target) : target_(WithoutSlash(target)) {
  static std::atomic<unsigned> counter{0};
  Check(target_.has_filename(), ErrorCode::kUsage, "{}: names no folder to write",
        PathText(target));
  std::error_code error;
  const auto status = fs::symlink_status(target_, error);
  const bool free =
      !fs::exists(status) || (fs::is_directory(status) && fs::is_empty(target_, error) && !error);
  Check(free, ErrorCode::kUsage,
        "{}: is there already; choose another name, nothing is overwritten", PathText(target_));
  const fs::path parent = FolderOf(target_);
  const bool created = fs::create_directories(parent, error);
  if (error) FailSystem(parent, "create the directory", error.value());
  if (created) SyncDirectory(FolderOf(parent));
  int made = -1;
  for (int attempt = 0; made != 0; ++attempt) {
    temporary_ = parent / fmt::format(".longspan-tmp-{}-dir-{}", getpid(), counter++);
    made = mkdir(temporary_.c_str(), 0777);
    if (made != 0 && (errno != EEXIST || attempt > 1000)) {
      temporary_.clear();
      FailSystem(target_, "create", errno);
    }
  }
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

void AtomicDirectory::Commit() {
  Check(!temporary_.empty(), ErrorCode::kIo, "{}: is committed already", PathText(target_));
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(temporary_, error)) {
    if (entry.is_directory()) SyncDirectory(entry.path());
  }
  if (error) FailSystem(temporary_, "list", error.value());
  SyncDirectory(temporary_);
  // Takes the place of an empty folder; one that was filled meanwhile stays what it is.
  Rename(temporary_, target_);
  temporary_.clear();
  SyncDirectory(FolderOf(target_));
}

void CopyFile(const fs::path& from, const fs::path& to) {
  const File file = File::OpenRegular(from);
  AtomicFile copy(to, file.size());
  ForEachPiece(file, [&](const char* data, std::size_t bytes) { copy.Write(data, bytes); });
  copy.Commit();
}

}  // namespace longspan::io
