// System calls: repeated when a signal interrupts them, and kIo errors with path and reason when
// they fail.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>
#include <type_traits>

namespace longspan::io {

// A system call, repeated for as long as a signal interrupts it: file systems in user space and
// over a network give EINTR anywhere. Not for close: its descriptor is gone whatever it says.
template <class Call>
auto Again(const Call& call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

// The same for what the standard library does by system calls; `call` sets `error`.
template <class Call>
auto Again(std::error_code& error, const Call& call) {
  for (;;) {
    error.clear();
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      if (error != std::errc::interrupted) return;
    } else {
      auto result = call();
      if (error != std::errc::interrupted) return result;
    }
  }
}

// A path as messages show it.
std::string PathText(const std::filesystem::path& path);

// Throws kIo "<path>: cannot <what>: <reason of error>"; kLimit when the reason is memory (ENOMEM).
[[noreturn]] void FailSystem(const std::filesystem::path& path, const char* what, int error);

// Same for a write: adds how many bytes are needed (0: unknown) and free where space is the reason.
[[noreturn]] void FailWrite(const std::filesystem::path& path, int error, std::uint64_t needed);

// Writes all bytes: short writes and EINTR continue.
void WriteAll(int fd, const void* data, std::size_t bytes, const std::filesystem::path& path,
              std::uint64_t needed);

// fsync, then close. A descriptor whose fsync failed is closed and never trusted again: what it did
// not write the system may have forgotten.
void SyncAndClose(int& fd, const std::filesystem::path& path);

// The folder of a path: "." when it has none.
std::filesystem::path FolderOf(const std::filesystem::path& path);

// "out/" means "out", to a rename and to whoever asks what lies beside it.
std::filesystem::path WithoutSlash(const std::filesystem::path& path);

// rename(2).
void Rename(const std::filesystem::path& from, const std::filesystem::path& to);

// "a directory", "a FIFO", ...: what a file that is not regular is.
const char* FileKind(unsigned mode);

}  // namespace longspan::io
