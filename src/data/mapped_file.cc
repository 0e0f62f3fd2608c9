#include "data/mapped_file.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "base/errors.h"
#include "io/checksum.h"
#include "io/file.h"
#include "io/posix.h"

namespace longspan::data {
namespace {

std::int64_t ModifiedNs(const struct stat& status) {
  return static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

}  // namespace

MappedFile MappedFile::Open(const std::filesystem::path& path, std::uint64_t copy_below) {
  const io::File file = io::File::OpenRegular(path);
  Check(file.size() > 0, ErrorCode::kFormat, "{}: an empty file", file.source());
  struct stat status {};
  if (io::Again([&] { return fstat(file.descriptor(), &status); }) != 0) {
    io::FailSystem(path, "stat", errno);
  }
  MappedFile opened;
  opened.path_ = path;
  opened.modified_ns_ = ModifiedNs(status);
  opened.inode_ = status.st_ino;
  const std::uint64_t size = file.size();
  if (size < copy_below) {
    auto* copy = new (std::nothrow) std::uint8_t[size];
    Check(copy != nullptr, ErrorCode::kLimit, "{}: no memory for its {} bytes", file.source(),
          size);
    opened.data_ = copy;
    opened.size_ = size;
    file.ReadAt(0, copy, size);
    return opened;
  }
  void* memory = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (memory == MAP_FAILED) {
    const int error = errno;
    Fail(error == ENOMEM ? ErrorCode::kLimit : ErrorCode::kIo, "{}: cannot map its {} bytes: {}",
         file.source(), size, std::generic_category().message(error));
  }
  opened.data_ = static_cast<const std::uint8_t*>(memory);
  opened.size_ = size;
  opened.mapped_ = true;
  return opened;
}

void MappedFile::Release() noexcept {
  if (mapped_) {
    munmap(const_cast<std::uint8_t*>(data_), size_);
  } else {
    delete[] data_;
  }
  data_ = nullptr;
  size_ = 0;
}

MappedFile::~MappedFile() { Release(); }

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    Release();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    mapped_ = std::exchange(other.mapped_, false);
    modified_ns_ = other.modified_ns_;
    inode_ = other.inode_;
    path_ = std::move(other.path_);
  }
  return *this;
}

std::string MappedFile::Fingerprint() const {
  io::Checksum checksum;
  checksum.Update(data_, size_);
  return fmt::format("{}-{}", size_, checksum.Hex());
}

void MappedFile::CheckUnchanged() const {
  const io::File now = io::File::OpenRegular(path_);
  struct stat status {};
  if (io::Again([&] { return fstat(now.descriptor(), &status); }) != 0) {
    io::FailSystem(path_, "stat", errno);
  }
  const bool same =
      now.size() == size_ && ModifiedNs(status) == modified_ns_ && status.st_ino == inode_;
  Check(same, ErrorCode::kFormat, "{}: changed since it was opened ({} bytes then, {} now)",
        now.source(), size_, now.size());
}

}  // namespace longspan::data
