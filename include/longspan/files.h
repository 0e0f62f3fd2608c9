// Files that appear whole or not at all, text of files that is fit for messages, and how strictly
// files from outside are taken.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace longspan::io {
class Temporary;  // the library's own: no header has it
}  // namespace longspan::io

#pragma GCC visibility push(default)
namespace longspan::io {

// Where a format's writer puts its bytes.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // Takes all of it or throws kIo.
  virtual void Write(const void* data, std::size_t bytes) = 0;
  void Write(std::string_view text) { Write(text.data(), text.size()); }
};

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
  std::unique_ptr<Temporary> temporary_;
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

// The whole of a regular file. kIo; kFormat above `most` bytes.
std::string ReadWholeFile(const std::filesystem::path& path, std::uint64_t most);

// ---- fingerprints -------------------------------------------------------------------------------

// XXH3 of 128 bits as 32 hexadecimal digits, the number that `xxh128sum` prints: it finds damage
// and changes, and proves no authorship.
std::string ChecksumOf(std::string_view bytes);
// The same of a regular file. kIo.
std::string FileChecksum(const std::filesystem::path& path);

// ---- text for messages --------------------------------------------------------------------------

// Printable ASCII and well-formed UTF-8 stay; quotes, backslashes, line breaks, control characters,
// direction overrides and stray bytes become \", \\, \n, \xHH. Longer than `most` bytes: cut, with
// the full length behind it. No terminal sequence, NUL or line break of a file reaches a log.
std::string Escape(std::string_view text, std::size_t most = 80);

// The name of a file or of a row ("FILE, line 3"), which may be long: at most 400 bytes.
inline std::string EscapeName(std::string_view name) { return Escape(name, 400); }

// Whether a text is well-formed UTF-8, which JSON and config files want.
bool IsUtf8(std::string_view text);
// ---- the whole process --------------------------------------------------------------------------

// How strictly files from outside are taken, for the whole process: set before the first model is
// opened.
struct Policy {
  // Links inside a model's folder may not lead out of it. A hub's cache is made of such links.
  bool strict_paths = false;
  // Tensors that the model has no place for are an error instead of a warning.
  bool strict_weights = false;
};

void SetPolicy(const Policy& policy);
const Policy& GetPolicy();

// Removes what this process is writing, files and folders, so that it can end at once (_exit) and
// leave no litter. May be called from any thread at any time, in a signal handler too: it takes no
// lock, no memory, and waits at most half a second for an open or a rename in progress. The process
// must end behind it: what still writes waits a second for that end.
void RemoveLiveTemporaries() noexcept;

}  // namespace longspan::io
#pragma GCC visibility pop
