#include "io/posix.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/errors.h"
#include "io/temporaries.h"
#include "longspan/files.h"

namespace longspan::io {

std::string PathText(const std::filesystem::path& path) { return Escape(path.native(), 4096); }

void FailSystem(const std::filesystem::path& path, const char* what, int error) {
  AwaitEndAfterRemoval();
  // A system that has no memory for the call is no fault of the path.
  Fail(error == ENOMEM ? ErrorCode::kLimit : ErrorCode::kIo, "{}: cannot {}: {}", PathText(path),
       what, std::generic_category().message(error));
}

void FailWrite(const std::filesystem::path& path, int error, std::uint64_t needed) {
  AwaitEndAfterRemoval();
  std::string detail;
  struct statvfs space {};
  if ((error == ENOSPC || error == EDQUOT) &&
      Again([&] { return statvfs(FolderOf(path).c_str(), &space); }) == 0) {
    const auto free_bytes = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    detail = needed > 0 ? fmt::format(" ({} bytes needed, {} free)", needed, free_bytes)
                        : fmt::format(" ({} bytes free)", free_bytes);
  } else if (error == EFBIG) {
    detail = needed > 0 ? fmt::format(" ({} bytes needed; see ulimit -f)", needed)
                        : std::string(" (see ulimit -f)");
  }
  Fail(ErrorCode::kIo, "{}: cannot write: {}{}", PathText(path),
       std::generic_category().message(error), detail);
}

void WriteAll(int fd, const void* data, std::size_t bytes, const std::filesystem::path& path,
              std::uint64_t needed) {
  constexpr std::size_t kLargest = std::size_t{1} << 30;  // the system takes no more at a time
  const auto* cursor = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t wrote = Again([&] { return write(fd, cursor, std::min(bytes, kLargest)); });
    if (wrote < 0) FailWrite(path, errno, needed);
    if (wrote == 0) FailWrite(path, EIO, needed);
    cursor += wrote;
    bytes -= static_cast<std::size_t>(wrote);
  }
}

void SyncAndClose(int& fd, const std::filesystem::path& path) {
  const int synced = Again([&] { return fsync(fd); }) == 0 ? 0 : errno;
  const int closed = close(fd) == 0 ? 0 : errno;
  fd = -1;
  if (synced != 0) FailSystem(path, "sync", synced);
  if (closed != 0 && closed != EINTR) FailSystem(path, "close", closed);
}

std::filesystem::path FolderOf(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::filesystem::path WithoutSlash(const std::filesystem::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

void Rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (Again([&] { return rename(from.c_str(), to.c_str()); }) != 0) {
    FailSystem(to, "rename into place", errno);
  }
}

const char* FileKind(unsigned mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

}  // namespace longspan::io
