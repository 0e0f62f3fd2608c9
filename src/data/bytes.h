// Bytes of files and of standard input, as a stream; gzip and zstd are unpacked on the way.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "longspan/error.h"

namespace longspan::data {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Reads up to `most` (> 0) bytes; 0: the end. kIo when the system refuses: a failed read is never
  // taken for the end. PackingError for packed bytes that are damaged or cut off.
  virtual std::size_t Read(char* data, std::size_t most) = 0;
};

// Packed bytes that are damaged or cut off (kFormat): what came before them may be half of the
// file.
class PackingError : public Error {
 public:
  explicit PackingError(const std::string& what) : Error(ErrorCode::kFormat, what) {}
};

// Whether bytes that begin so are unpacked: gzip, zstd.
bool IsPacked(std::string_view head);

// The next `most` bytes, or all that are left.
std::string ReadHead(ByteStream& bytes, std::size_t most);

// What messages call standard input, and what stands for it on a command line.
inline constexpr const char* kStdinName = "stdin";
inline constexpr const char* kStdinPath = "-";

// A regular file (kIo for anything else), or standard input for "-". What begins with the mark of
// gzip or zstd is unpacked, whatever its name; memory does not grow with it. PackingError for a
// name that ends in .gz or .zst and other content.
std::unique_ptr<ByteStream> OpenBytes(const std::filesystem::path& path);

// Bytes that lie in memory and outlive the source; packed ones as above.
std::unique_ptr<ByteStream> MemoryBytes(std::string_view bytes, const std::string& source);

// The name without ".gz" or ".zst" in any case; `packed` tells whether there was one.
std::filesystem::path WithoutPacking(const std::filesystem::path& path, bool* packed = nullptr);

}  // namespace longspan::data
