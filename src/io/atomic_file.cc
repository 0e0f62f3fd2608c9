#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>
#include <vector>

#include "base/errors.h"
#include "io/posix.h"

namespace longspan::io {
namespace {

constexpr std::string_view kTemporaryPrefix = ".longspan-tmp-";

// Renaming over a device or a FIFO would replace it: such a target is refused, not written.
void CheckTarget(const std::filesystem::path& target) {
  struct stat status {};
  if (stat(target.c_str(), &status) == 0) {
    Check(S_ISREG(status.st_mode), ErrorCode::kIo, "{}: cannot write: it is {}", PathText(target),
          FileKind(status.st_mode));
  } else if (errno != ENOENT) {
    FailSystem(target, "write", errno);
  }
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& target, std::uint64_t expected_bytes)
    : target_(target), expected_(expected_bytes) {
  static std::atomic<unsigned> counter{0};
  Check(target.has_filename(), ErrorCode::kIo, "{}: cannot write: it names no file",
        PathText(target));
  CheckTarget(target_);
  for (int attempt = 0; fd_ < 0; ++attempt) {
    temporary_ = FolderOf(target_) / fmt::format("{}{}-{}", kTemporaryPrefix, getpid(), counter++);
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    // EEXIST: a process of the same id crashed here once.
    if (fd_ < 0 && errno != EINTR && (errno != EEXIST || attempt > 1000)) {
      FailSystem(target_, "write", errno);
    }
  }
  if (expected_ == 0) return;
  int reserved;
  do {
    reserved = fallocate(fd_, 0, 0, static_cast<off_t>(expected_)) == 0 ? 0 : errno;
  } while (reserved == EINTR);
  if (reserved == ENOSPC || reserved == EDQUOT || reserved == EFBIG || reserved == EIO) {
    Discard();
    FailWrite(target_, reserved, expected_);
  }  // anything else: this file system cannot reserve
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::Discard() noexcept {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  if (!temporary_.empty()) unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::Write(const void* data, std::size_t bytes) {
  Check(fd_ >= 0, ErrorCode::kIo, "{}: cannot write: an earlier step failed or it is committed",
        PathText(target_));
  try {
    WriteAll(fd_, data, bytes, target_, expected_);
  } catch (...) {
    Discard();
    throw;
  }
  written_ += bytes;
}

void AtomicFile::WriteAt(std::uint64_t offset, std::string_view bytes) {
  Check(fd_ >= 0, ErrorCode::kIo, "{}: cannot write: an earlier step failed or it is committed",
        PathText(target_));
  Check(offset + bytes.size() <= written_, ErrorCode::kUsage,
        "{}: bytes {} to {} have not been written yet", PathText(target_), offset,
        offset + bytes.size());
  while (!bytes.empty()) {
    const ssize_t wrote = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (wrote < 0 && errno == EINTR) continue;
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
    if (written_ < expected_ && ftruncate(fd_, static_cast<off_t>(written_)) != 0) {
      FailSystem(target_, "write", errno);
    }
    SyncAndClose(fd_, target_);
  } catch (...) {
    Discard();
    throw;
  }
}

void AtomicFile::Commit() {
  Sync();
  try {
    Rename(temporary_, target_);
  } catch (...) {
    Discard();
    throw;
  }
  temporary_.clear();
  SyncDirectory(FolderOf(target_));
}

void CommitTogether(std::span<AtomicFile* const> files) {
  for (AtomicFile* file : files) file->Sync();
  std::vector<std::filesystem::path> hidden(files.size());  // where older files went
  std::size_t visible = 0;                                  // of the new ones
  try {
    for (std::size_t i = files.size(); i-- > 0;) {
      const std::filesystem::path& target = files[i]->target_;
      auto name = files[i]->temporary_;
      name += "-old";
      if (rename(target.c_str(), name.c_str()) == 0) {
        hidden[i] = std::move(name);
      } else if (errno != ENOENT) {
        FailSystem(target, "rename", errno);
      }
    }
    for (; visible < files.size(); ++visible) {
      Rename(files[visible]->temporary_, files[visible]->target_);
      files[visible]->temporary_.clear();
    }
  } catch (...) {
    while (visible > 0) unlink(files[--visible]->target_.c_str());
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (!hidden[i].empty()) rename(hidden[i].c_str(), files[i]->target_.c_str());
      files[i]->Discard();
    }
    throw;
  }
  for (const std::filesystem::path& old : hidden) {
    if (!old.empty()) unlink(old.c_str());
  }
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
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) FailSystem(directory, "open", errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // EINVAL: this file system has no such operation, its renames are ordered by themselves.
  if (error != 0 && error != EINVAL) FailSystem(directory, "sync", error);
}

void EnsureWritableDirectory(const std::filesystem::path& directory) {
  std::error_code error;
  const bool created = std::filesystem::create_directories(directory, error);
  if (error) FailSystem(directory, "create the directory", error.value());
  if (created) SyncDirectory(FolderOf(directory));
  Check(std::filesystem::is_directory(directory, error), ErrorCode::kIo, "{}: not a directory",
        PathText(directory));
  const auto probe = directory / fmt::format("{}probe-{}", kTemporaryPrefix, getpid());
  AtomicFile file(probe);
  file.Write("probe\n");
  file.Commit();
  if (unlink(probe.c_str()) != 0 && errno != ENOENT) FailSystem(probe, "remove", errno);
}

void RemoveStaleTemporaries(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::directory_iterator entries(directory, error);
  if (error) FailSystem(directory, "list", error.value());
  for (; entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const std::filesystem::path& path = entries->path();
    if (path.filename().native().starts_with(kTemporaryPrefix)) unlink(path.c_str());
  }
  if (error) FailSystem(directory, "list", error.value());
}

}  // namespace longspan::io
