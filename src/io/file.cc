#include "io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/errors.h"
#include "io/posix.h"

namespace longspan::io {

void MemorySource::ReadAt(std::uint64_t offset, void* data, std::size_t bytes) const {
  Check(offset <= bytes_.size() && bytes <= bytes_.size() - offset, ErrorCode::kIo,
        "{}: ends at byte {}, {} are asked for from {}", source_, bytes_.size(), bytes, offset);
  std::copy_n(bytes_.data() + offset, bytes, static_cast<char*>(data));
}

File File::OpenRegular(const std::filesystem::path& path) {
  struct stat status {};
  // Asked before opening too: opening a device can have effects, opening a socket only says ENXIO.
  if (stat(path.c_str(), &status) != 0) FailSystem(path, "open", errno);
  Check(S_ISREG(status.st_mode), ErrorCode::kIo, "{}: not a regular file but {}", PathText(path),
        FileKind(status.st_mode));
  File file;
  file.path_ = path;
  do {
    file.fd_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  } while (file.fd_ < 0 && errno == EINTR);
  if (file.fd_ < 0) FailSystem(path, "open", errno);
  if (fstat(file.fd_, &status) != 0) FailSystem(path, "stat", errno);
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
    const ssize_t got = pread(fd_, cursor, std::min(bytes, kLargest), static_cast<off_t>(offset));
    if (got < 0) {
      if (errno == EINTR) continue;
      FailSystem(path_, "read", errno);
    }
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
