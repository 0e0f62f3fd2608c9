// File descriptors whose errors are ours: one line with path, operation and the system's reason.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "longspan/files.h"

namespace longspan::io {

// Bytes at rest that parsers of untrusted formats read from: a file, or memory. Const methods may
// be called from several threads.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual std::uint64_t size() const = 0;
  // For messages: where the bytes come from, escaped.
  virtual std::string source() const = 0;
  // Fills [data, data + bytes) from `offset`; kIo when the bytes end before that.
  virtual void ReadAt(std::uint64_t offset, void* data, std::size_t bytes) const = 0;
};

// Memory as a source: what a parser does with a file, without one.
class MemorySource final : public ByteSource {
 public:
  MemorySource(std::string bytes, std::string source)
      : bytes_(std::move(bytes)), source_(std::move(source)) {}
  std::uint64_t size() const override { return bytes_.size(); }
  std::string source() const override { return source_; }
  void ReadAt(std::uint64_t offset, void* data, std::size_t bytes) const override;

 private:
  std::string bytes_, source_;
};

// A regular file, open for reading. Read with pread into the caller's memory, never mapped: a file
// that shrinks under the reader is an error, not a SIGBUS. Move-only.
class File final : public ByteSource {
 public:
  // kIo when it cannot be opened or is no regular file (a directory, FIFO, socket, device); a FIFO
  // without a writer does not block.
  static File OpenRegular(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File() override;

  std::uint64_t size() const override { return size_; }  // bytes, when it was opened
  int descriptor() const { return fd_; }
  const std::filesystem::path& path() const { return path_; }
  std::string source() const override;  // the path
  void ReadAt(std::uint64_t offset, void* data, std::size_t bytes) const override;

 private:
  File() = default;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::filesystem::path path_;
};

// Calls use(data, bytes) with the whole file, a MiB at a time.
template <class Use>
void ForEachPiece(const File& file, const Use& use) {
  std::vector<char> piece(
      static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), std::uint64_t{1} << 20)));
  for (std::uint64_t at = 0; at < file.size();) {
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), file.size() - at));
    file.ReadAt(at, piece.data(), count);
    use(piece.data(), count);
    at += count;
  }
}

}  // namespace longspan::io
