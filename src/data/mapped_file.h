// The bytes of a training text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace longspan::data {

// A read-only regular file in memory. Small files are copied, so that nothing that happens to the
// file afterwards matters; larger ones are mapped (private, read-only). Move-only.
class MappedFile {
 public:
  static constexpr std::uint64_t kCopyBelow = std::uint64_t{256} << 20;  // bytes

  // kIo when it is missing, unreadable or no regular file (a FIFO does not block); kFormat when it
  // is empty.
  static MappedFile Open(const std::filesystem::path& path, std::uint64_t copy_below = kCopyBelow);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::uint8_t> bytes() const { return {data_, size_}; }
  std::uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  // Whether bytes() is the file itself, not a copy.
  bool mapped() const { return mapped_; }

  // Length and checksum of all bytes ("1048576-<32 hex digits>"): a resumed run compares it to know
  // that its data are the same. Reads the whole file.
  std::string Fingerprint() const;

  // kFormat when the file on disk has changed since it was opened (length or modification time).
  // A mapped file that shrinks kills a process that reads behind the new end (SIGBUS): long runs
  // call this before they read. It opens the file and costs microseconds.
  void CheckUnchanged() const;

 private:
  MappedFile() = default;
  void Release() noexcept;
  const std::uint8_t* data_ = nullptr;
  std::uint64_t size_ = 0;
  std::int64_t modified_ns_ = 0;
  std::uint64_t inode_ = 0;
  bool mapped_ = false;
  std::filesystem::path path_;
};

}  // namespace longspan::data
