// System calls whose failures are kIo errors with path and reason. Internal to this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace longspan::io {

// A path as messages show it.
std::string PathText(const std::filesystem::path& path);

// Throws kIo "<path>: cannot <what>: <reason of error>".
[[noreturn]] void FailSystem(const std::filesystem::path& path, const char* what, int error);

// Same for a write: adds how many bytes are needed (0: unknown) and free where space is the reason.
[[noreturn]] void FailWrite(const std::filesystem::path& path, int error, std::uint64_t needed);

// Writes all bytes: short writes and EINTR continue.
void WriteAll(int fd, const void* data, std::size_t bytes, const std::filesystem::path& path,
              std::uint64_t needed);

// fsync, then close. A descriptor whose fsync failed is closed and never trusted again.
void SyncAndClose(int& fd, const std::filesystem::path& path);

// The folder of a path: "." when it has none.
std::filesystem::path FolderOf(const std::filesystem::path& path);

// rename(2).
void Rename(const std::filesystem::path& from, const std::filesystem::path& to);

// "a directory", "a FIFO", ...: what a file that is not regular is.
const char* FileKind(unsigned mode);

}  // namespace longspan::io
