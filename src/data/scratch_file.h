// Bytes that are written once and then read anywhere, and that may be more than memory takes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <type_traits>
#include <vector>

namespace longspan::data {

struct ScratchPlace;

// Holds what is appended in memory while it is little, then in a file without a name, which is
// mapped read-only when all is there. The file is gone with the object, and with the process
// however it ends. Its pages are the system's to drop and to read again. Move-only.
class ScratchFile {
 public:
  static constexpr std::uint64_t kInMemory = std::uint64_t{16} << 20;  // bytes

  // `near`: a path in whose folder the file lies, or in the nearest folder above that there is.
  // Empty: all stays in memory. `in_memory`: so many bytes do so in any case.
  explicit ScratchFile(std::filesystem::path near = {}, std::uint64_t in_memory = kInMemory);
  explicit ScratchFile(const ScratchPlace& place);
  ScratchFile(ScratchFile&& other) noexcept;
  ScratchFile& operator=(ScratchFile&& other) noexcept;
  ~ScratchFile();

  // kIo, with the folder and what it has free, if it is full.
  void Append(const void* data, std::size_t bytes);
  std::uint64_t size() const { return size_; }
  // All that was appended. The memory may move with the next Append. kIo, kLimit.
  std::span<const std::uint8_t> bytes();
  // The same, and nothing is appended any more: a file is mapped and takes no descriptor.
  std::span<const std::uint8_t> Finish();
  // Whether it has become a file.
  bool in_file() const { return descriptor_ >= 0 || mapped_ != nullptr; }

 private:
  void Flush();
  void Unmap() noexcept;
  void Release() noexcept;

  std::filesystem::path near_;
  std::uint64_t in_memory_ = kInMemory, size_ = 0;
  int descriptor_ = -1;
  std::vector<std::uint8_t> buffer_;  // all of it, or what is not written yet
  const std::uint8_t* mapped_ = nullptr;
  std::uint64_t mapped_bytes_ = 0;
};

// Where such files lie and when they begin: the arguments of a ScratchFile.
struct ScratchPlace {
  std::filesystem::path near = {};
  std::uint64_t in_memory = ScratchFile::kInMemory;
};

// Values one after another in such a file. T has no pointers and no destructor.
template <class T>
class ScratchList {
 public:
  static_assert(std::is_trivially_copyable_v<T>);
  explicit ScratchList(const std::filesystem::path& near = {},
                       std::uint64_t in_memory = ScratchFile::kInMemory)
      : file_(near, in_memory) {}
  explicit ScratchList(const ScratchPlace& place) : file_(place) {}

  void Add(const T& value) { file_.Append(&value, sizeof(T)); }  // errors of ScratchFile::Append
  void Add(std::span<const T> values) { file_.Append(values.data(), values.size_bytes()); }
  std::size_t size() const { return static_cast<std::size_t>(file_.size() / sizeof(T)); }
  // Valid until the next Add. Errors of ScratchFile::bytes.
  std::span<const T> all() const {
    return {reinterpret_cast<const T*>(file_.bytes().data()), size()};
  }

 private:
  mutable ScratchFile file_;
};

}  // namespace longspan::data
