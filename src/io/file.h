// File descriptors whose errors are ours: one line with path, operation and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace longspan::io {

// Where a format's writer puts its bytes.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // Takes all of it or throws kIo.
  virtual void Write(const void* data, std::size_t bytes) = 0;
  void Write(std::string_view text) { Write(text.data(), text.size()); }
};

// A regular file, open for reading. Read with pread into the caller's memory, never mapped: a file
// that shrinks under the reader is an error, not a SIGBUS. Move-only.
class File {
 public:
  // kIo when it cannot be opened or is no regular file (a directory, FIFO, socket, device); a FIFO
  // without a writer does not block.
  static File OpenRegular(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  std::uint64_t size() const { return size_; }  // bytes, when it was opened
  int descriptor() const { return fd_; }
  const std::filesystem::path& path() const { return path_; }
  std::string source() const;  // the path, escaped: for messages

  // Fills [data, data + bytes) from `offset`; kIo when the file ends before that. Thread-safe.
  void ReadAt(std::uint64_t offset, void* data, std::size_t bytes) const;

 private:
  File() = default;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::filesystem::path path_;
};

// The whole of a regular file; kFormat above `most` bytes.
std::string ReadWholeFile(const std::filesystem::path& path, std::uint64_t most);

}  // namespace longspan::io
