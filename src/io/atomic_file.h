// Files that appear whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "io/file.h"
#include "io/temporaries.h"

namespace longspan::io {

// Writes under a temporary name in the target's folder; Commit syncs the file, renames it over the
// target and syncs the folder. Until then, and after any error (no space, file size limit, I/O
// error), the target is what it was and the temporary file is removed. A crash leaves at most a
// hidden `.longspan-tmp-*` file, which the next writer in the folder takes away (io/temporaries.h).
//
// All errors are kIo and name the path and the system's reason. The writer expects SIGXFSZ to be
// ignored, as the program does: otherwise the system kills a process that meets its file size
// limit (ulimit -f) before an error can be reported.
class AtomicFile final : public ByteSink {
 public:
  // expected_bytes, when known, is reserved at once: a full disk is found before the writing.
  // Fails when the target exists and is not a regular file.
  explicit AtomicFile(const std::filesystem::path& target, std::uint64_t expected_bytes = 0);
  ~AtomicFile() override;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  using ByteSink::Write;
  void Write(const void* data, std::size_t bytes) override;
  // Overwrites bytes that have been written: a header that is known at the end only.
  void WriteAt(std::uint64_t offset, std::string_view bytes);

  // Makes the file durable and visible. Once only; no Write after it.
  void Commit();

 private:
  friend void CommitTogether(std::span<AtomicFile* const> files);
  void Discard() noexcept;
  void Sync();
  void TakeName();
  std::filesystem::path target_;
  std::optional<Temporary> temporary_;
  int fd_ = -1;
  std::uint64_t written_ = 0, expected_ = 0;
};

// Commits files that belong together: whoever sees the last one sees those before it, of the same
// writing. All are durable before the first is visible, and older files of these names are out of
// sight before that. After an error the older ones are back; a crash in between may leave some
// names without a file until the next writer in the folder puts the older ones back, never files of
// two writings.
void CommitTogether(std::span<AtomicFile* const> files);

// The whole of `text` in one go.
void WriteFileAtomic(const std::filesystem::path& path, std::string_view text);
// The same for a writer of a format.
void WriteFileAtomic(const std::filesystem::path& path,
                     const std::function<void(ByteSink&)>& write);

// Creates the directory (and its parents) when it is missing and proves, by writing, syncing,
// renaming and removing a small file, that it can hold results. kIo otherwise: to be called at the
// start of a run, not after its first hour.
void EnsureWritableDirectory(const std::filesystem::path& directory);

// Makes the entries of a directory durable (fsync).
void SyncDirectory(const std::filesystem::path& directory);

}  // namespace longspan::io
