#include "data/scratch_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "base/errors.h"
#include "io/posix.h"

namespace longspan::data {
namespace {

constexpr std::size_t kWriteBytes = std::size_t{1} << 20;  // at a time

// The folder of `near`, or the nearest one above it that exists.
std::filesystem::path FolderNear(const std::filesystem::path& near) {
  std::filesystem::path folder = io::WithoutSlash(near);
  std::error_code error;
  while (!folder.empty() && !std::filesystem::is_directory(folder, error)) {
    folder = folder.parent_path();
  }
  return folder.empty() ? std::filesystem::path(".") : folder;
}

// A file without a name; where the file system has none, its name is taken away at once.
int OpenNameless(const std::filesystem::path& folder) {
  const int nameless =
      io::Again([&] { return open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); });
  if (nameless >= 0) return nameless;
  std::string name = (folder / ".longspan-XXXXXX").native();
  const int named = io::Again([&] { return mkostemp(name.data(), O_CLOEXEC); });
  if (named < 0) io::FailSystem(folder, "make a file for the data in it", errno);
  unlink(name.c_str());
  return named;
}

}  // namespace

ScratchFile::ScratchFile(std::filesystem::path near, std::uint64_t in_memory)
    : near_(std::move(near)), in_memory_(in_memory) {}

ScratchFile::ScratchFile(const ScratchPlace& place) : ScratchFile(place.near, place.in_memory) {}

ScratchFile::ScratchFile(ScratchFile&& other) noexcept { *this = std::move(other); }

ScratchFile& ScratchFile::operator=(ScratchFile&& other) noexcept {
  if (this != &other) {
    Release();
    near_ = std::move(other.near_);
    in_memory_ = other.in_memory_;
    size_ = std::exchange(other.size_, 0);
    descriptor_ = std::exchange(other.descriptor_, -1);
    buffer_ = std::move(other.buffer_);
    mapped_ = std::exchange(other.mapped_, nullptr);
    mapped_bytes_ = std::exchange(other.mapped_bytes_, 0);
  }
  return *this;
}

ScratchFile::~ScratchFile() { Release(); }

void ScratchFile::Unmap() noexcept {
  if (mapped_ != nullptr) munmap(const_cast<std::uint8_t*>(mapped_), mapped_bytes_);
  mapped_ = nullptr;
  mapped_bytes_ = 0;
}

void ScratchFile::Release() noexcept {
  Unmap();
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
}

void ScratchFile::Append(const void* data, std::size_t bytes) {
  const auto* next = static_cast<const std::uint8_t*>(data);
  while (bytes > 0) {
    const std::size_t some = std::min(bytes, kWriteBytes);
    buffer_.insert(buffer_.end(), next, next + some);
    size_ += some;
    if (in_file() ? buffer_.size() >= kWriteBytes : !near_.empty() && size_ > in_memory_) Flush();
    next += some;
    bytes -= some;
  }
}

void ScratchFile::Flush() {
  const std::filesystem::path folder = FolderNear(near_);
  Check(mapped_ == nullptr || descriptor_ >= 0, ErrorCode::kUsage, "data: a finished file grows");
  if (descriptor_ < 0) descriptor_ = OpenNameless(folder);
  io::WriteAll(descriptor_, buffer_.data(), buffer_.size(), folder / ".longspan-data", 0);
  buffer_.clear();
  if (buffer_.capacity() > 2 * kWriteBytes) buffer_.shrink_to_fit();  // of the time in memory
}

std::span<const std::uint8_t> ScratchFile::Finish() {
  const std::span<const std::uint8_t> all = bytes();
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
  return all;
}

std::span<const std::uint8_t> ScratchFile::bytes() {
  if (!in_file()) return buffer_;
  if (!buffer_.empty()) Flush();
  buffer_.shrink_to_fit();  // what is read rarely grows any more
  if (mapped_bytes_ == size_) return {mapped_, mapped_bytes_};
  Unmap();
  void* memory = mmap(nullptr, size_, PROT_READ, MAP_SHARED, descriptor_, 0);
  if (memory == MAP_FAILED) {
    const int error = errno;
    Fail(error == ENOMEM ? ErrorCode::kLimit : ErrorCode::kIo, "{}: cannot map {} bytes: {}",
         io::PathText(FolderNear(near_)), size_, std::generic_category().message(error));
  }
  mapped_ = static_cast<const std::uint8_t*>(memory);
  mapped_bytes_ = size_;
  return {mapped_, mapped_bytes_};
}

}  // namespace longspan::data
