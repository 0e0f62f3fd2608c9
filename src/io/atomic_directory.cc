#include "io/atomic_directory.h"

#include <system_error>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/paths.h"
#include "io/posix.h"

namespace longspan::io {

namespace fs = std::filesystem;

AtomicDirectory::AtomicDirectory(const fs::path& target) : target_(WithoutSlash(target)) {
  Check(target_.has_filename(), ErrorCode::kUsage, "{}: names no folder to write",
        PathText(target));
  std::error_code error;
  const auto status = Again(error, [&] { return fs::symlink_status(target_, error); });
  const bool free =
      !fs::exists(status) || (fs::is_directory(status) &&
                              Again(error, [&] { return fs::is_empty(target_, error); }) && !error);
  Check(free, ErrorCode::kUsage,
        "{}: is there already; choose another name, nothing is overwritten", PathText(target_));
  const fs::path parent = FolderOf(target_);
  if (MakeDirectories(parent)) SyncDirectory(FolderOf(parent));
  temporary_.emplace(target_, Temporary::Kind::kFolder);
}

void AtomicDirectory::Commit() {
  Check(!committed_, ErrorCode::kIo, "{}: is committed already", PathText(target_));
  for (const fs::path& folder : FoldersBelow(path())) SyncDirectory(folder);
  SyncDirectory(path());
  // Takes the place of an empty folder; one that was filled meanwhile stays what it is.
  temporary_->RenameTo(target_);
  committed_ = true;
  SyncDirectory(FolderOf(target_));
}

void CopyFile(const fs::path& from, const fs::path& to) {
  const File file = File::OpenRegular(from);
  AtomicFile copy(to, file.size());
  ForEachPiece(file, [&](const char* data, std::size_t bytes) { copy.Write(data, bytes); });
  copy.Commit();
}

}  // namespace longspan::io
