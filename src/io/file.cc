#include "io/file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/errors.h"
#include "io/paths.h"
#include "io/policy.h"
#include "io/posix.h"

namespace longspan::io {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;

[[noreturn]] void FailOutside(const std::filesystem::path& path,
                              const std::filesystem::path& folder) {
  Fail(ErrorCode::kFormat,
       "{}: a link leads out of {} (or is an absolute one), which --strict-paths refuses; put the "
       "file itself there",
       PathText(path), PathText(folder));
}

// Opens a file without leaving `folder`, which `path` is spelled below.
int OpenBeneath(const std::filesystem::path& folder, const std::filesystem::path& path) {
  int root = Again([&] { return open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC); });
  if (root < 0) FailSystem(folder, "open", errno);
  const std::filesystem::path below =
      path.lexically_normal().lexically_relative(folder.lexically_normal());
  struct open_how how {};
  how.flags = static_cast<std::uint64_t>(kOpenFlags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const int fd = Again([&] {
    return static_cast<int>(syscall(SYS_openat2, root, below.c_str(), &how, sizeof(how)));
  });
  const int error = errno;
  close(root);
  if (fd >= 0) return fd;
  if (error == EXDEV) FailOutside(path, folder);
  // Kernels before 5.6, and sandboxes that do not know the call: the same question by names.
  if (error != ENOSYS && error != EPERM) {
    errno = error;
    return -1;
  }
  const std::string inside = RealPath(folder).native() + "/";
  if (!RealPath(path).native().starts_with(inside)) FailOutside(path, folder);
  return Again([&] { return open(path.c_str(), kOpenFlags); });
}

}  // namespace

void MemorySource::ReadAt(std::uint64_t offset, void* data, std::size_t bytes) const {
  Check(offset <= bytes_.size() && bytes <= bytes_.size() - offset, ErrorCode::kIo,
        "{}: ends at byte {}, {} are asked for from {}", source_, bytes_.size(), bytes, offset);
  std::copy_n(bytes_.data() + offset, bytes, static_cast<char*>(data));
}

File File::OpenRegular(const std::filesystem::path& path) {
  struct stat status {};
  // Asked before opening too: opening a device can have effects, opening a socket only says ENXIO.
  if (Again([&] { return stat(path.c_str(), &status); }) != 0) FailSystem(path, "open", errno);
  Check(S_ISREG(status.st_mode), ErrorCode::kIo, "{}: not a regular file but {}", PathText(path),
        FileKind(status.st_mode));
  File file;
  file.path_ = path;
  const std::filesystem::path folder = ConfinedFolderOf(path);
  file.fd_ = folder.empty() ? Again([&] { return open(path.c_str(), kOpenFlags); })
                            : OpenBeneath(folder, path);
  if (file.fd_ < 0) FailSystem(path, "open", errno);
  if (Again([&] { return fstat(file.fd_, &status); }) != 0) FailSystem(path, "stat", errno);
  Check(S_ISREG(status.st_mode), ErrorCode::kIo, "{}: not a regular file but {}", PathText(path),
        FileKind(status.st_mode));
  file.size_ = static_cast<std::uint64_t>(status.st_size);
  return file;
}

File::File(File&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), size_(other.size_), path_(std::move(other.path_)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    size_ = other.size_;
    path_ = std::move(other.path_);
  }
  return *this;
}

File::~File() {
  if (fd_ >= 0) close(fd_);
}

std::string File::source() const { return PathText(path_); }

void File::ReadAt(std::uint64_t offset, void* data, std::size_t bytes) const {
  constexpr std::size_t kLargest = std::size_t{1} << 30;  // the system takes no more at a time
  auto* cursor = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = Again(
        [&] { return pread(fd_, cursor, std::min(bytes, kLargest), static_cast<off_t>(offset)); });
    if (got < 0) FailSystem(path_, "read", errno);
    Check(got > 0, ErrorCode::kIo,
          "{}: ends at byte {}, {} more were there when it was opened: somebody changed it",
          source(), offset, bytes);
    cursor += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

std::string ReadWholeFile(const std::filesystem::path& path, std::uint64_t most) {
  const File file = File::OpenRegular(path);
  Check(file.size() <= most, ErrorCode::kFormat, "{}: {} bytes, at most {} are read", file.source(),
        file.size(), most);
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.ReadAt(0, text.data(), text.size());
  return text;
}

}  // namespace longspan::io
