#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/cancel.h"
#include "base/errors.h"
#include "io/paths.h"
#include "io/posix.h"
#include "io/temporaries.h"

namespace longspan::io {
namespace {

// Renaming over a device, a FIFO or a link would replace it: such a target is refused, not written.
void CheckTarget(const std::filesystem::path& target) {
  struct stat status {};
  if (Again([&] { return lstat(target.c_str(), &status); }) == 0) {
    Check(!S_ISLNK(status.st_mode), ErrorCode::kIo,
          "{}: cannot write: it is a link, which the file would replace; name what it leads to",
          PathText(target));
    Check(S_ISREG(status.st_mode), ErrorCode::kIo, "{}: cannot write: it is {}", PathText(target),
          FileKind(status.st_mode));
  } else if (errno != ENOENT) {
    FailSystem(target, "write", errno);
  }
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& target, std::uint64_t expected_bytes)
    : target_(target), expected_(expected_bytes) {
  Check(target.has_filename(), ErrorCode::kIo, "{}: cannot write: it names no file",
        PathText(target));
  CheckTarget(target_);
  temporary_ = std::make_unique<Temporary>(target_, Temporary::Kind::kFile);
  fd_ = temporary_->OpenForWriting();
  if (expected_ == 0) return;
  const int reserved =
      Again([&] { return fallocate(fd_, 0, 0, static_cast<off_t>(expected_)); }) == 0 ? 0 : errno;
  if (reserved == ENOSPC || reserved == EDQUOT || reserved == EFBIG || reserved == EIO) {
    Discard();
    FailWrite(target_, reserved, expected_);
  }  // anything else: this file system cannot reserve
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::Discard() noexcept {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  temporary_.reset();
}

void AtomicFile::Write(const void* data, std::size_t bytes) {
  Check(fd_ >= 0, ErrorCode::kIo, "{}: cannot write: an earlier step failed or it is committed",
        PathText(target_));
  constexpr std::size_t kBetweenChecks = std::size_t{16} << 20;
  const auto* from = static_cast<const char*>(data);
  try {
    while (bytes > 0) {
      CancelScope::Check();
      const std::size_t count = std::min(bytes, kBetweenChecks);
      WriteAll(fd_, from, count, target_, expected_);
      written_ += count;
      from += count;
      bytes -= count;
    }
  } catch (...) {
    Discard();
    throw;
  }
}

void AtomicFile::WriteAt(std::uint64_t offset, std::string_view bytes) {
  Check(fd_ >= 0, ErrorCode::kIo, "{}: cannot write: an earlier step failed or it is committed",
        PathText(target_));
  Check(offset + bytes.size() <= written_, ErrorCode::kUsage,
        "{}: bytes {} to {} have not been written yet", PathText(target_), offset,
        offset + bytes.size());
  while (!bytes.empty()) {
    const ssize_t wrote =
        Again([&] { return pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)); });
    if (wrote <= 0) {
      const int error = wrote < 0 ? errno : EIO;
      Discard();
      FailWrite(target_, error, 0);
    }
    offset += static_cast<std::uint64_t>(wrote);
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

void AtomicFile::Sync() {
  Check(fd_ >= 0, ErrorCode::kIo, "{}: cannot write: an earlier step failed or it is committed",
        PathText(target_));
  try {
    // A reservation that turned out too large ends here.
    if (written_ < expected_ &&
        Again([&] { return ftruncate(fd_, static_cast<off_t>(written_)); }) != 0) {
      FailSystem(target_, "write", errno);
    }
    SyncAndClose(fd_, target_);
  } catch (...) {
    Discard();
    throw;
  }
}

void AtomicFile::TakeName() {
  try {
    temporary_->RenameTo(target_);
  } catch (...) {
    Discard();
    throw;
  }
  temporary_.reset();
}

void AtomicFile::Commit() {
  Sync();
  TakeName();
  SyncDirectory(FolderOf(target_));
}

void CommitTogether(std::span<AtomicFile* const> files) {
  for (AtomicFile* file : files) file->Sync();
  std::vector<HiddenFile> hidden;  // from the last to the first
  std::size_t visible = 0;         // of the new ones
  try {
    hidden.reserve(files.size());
    for (std::size_t i = files.size(); i-- > 0;) hidden.emplace_back(files[i]->target_);
    for (; visible < files.size(); ++visible) files[visible]->TakeName();
  } catch (...) {
    while (visible > 0) {
      const std::filesystem::path& target = files[--visible]->target_;
      Again([&] { return unlink(target.c_str()); });
    }
    for (HiddenFile& old : hidden) old.PutBack();
    for (AtomicFile* file : files) file->Discard();
    throw;
  }
  for (HiddenFile& old : hidden) old.Remove();
  for (AtomicFile* file : files) SyncDirectory(FolderOf(file->target_));
}

void WriteFileAtomic(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path, text.size());
  file.Write(text);
  file.Commit();
}

void WriteFileAtomic(const std::filesystem::path& path,
                     const std::function<void(ByteSink&)>& write) {
  AtomicFile file(path);
  write(file);
  file.Commit();
}

void SyncDirectory(const std::filesystem::path& directory) {
  const int fd = Again([&] { return open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
  if (fd < 0) FailSystem(directory, "open", errno);
  const int error = Again([&] { return fsync(fd); }) == 0 ? 0 : errno;
  close(fd);
  // EINVAL: this file system has no such operation, its renames are ordered by themselves.
  if (error != 0 && error != EINVAL) FailSystem(directory, "sync", error);
}

void EnsureWritableDirectory(const std::filesystem::path& directory) {
  if (MakeDirectories(directory)) SyncDirectory(FolderOf(directory));
  Check(IsDirectory(directory), ErrorCode::kIo, "{}: not a directory", PathText(directory));
  ClearOnce(FolderOf(WithoutSlash(directory)));  // where a killed one made the folder itself
  const auto probe = ProbePath(directory);
  LiveEntry entry(probe);  // a signal that ends the process takes it along
  entry.Made();
  const auto remove = [&] { return Again([&] { return unlink(probe.c_str()); }); };
  try {
    WriteFileAtomic(probe, "probe\n");
  } catch (...) {
    remove();
    throw;
  }
  if (remove() != 0 && errno != ENOENT) FailSystem(probe, "remove", errno);
}

}  // namespace longspan::io
