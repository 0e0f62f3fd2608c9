// What is being written under a hidden name, and what crashed writers left under such names.
#pragma once

#include <filesystem>
#include <optional>

#include "longspan/files.h"

namespace longspan::io {

// Something on disk that must go when the process ends before it is done. It stands in a table from
// before it is made until it has its final name, and RemoveLiveTemporaries works that table off.
// Between construction and Made the caller makes it and does nothing else.
class LiveEntry {
 public:
  explicit LiveEntry(const std::filesystem::path& path);
  ~LiveEntry();
  LiveEntry(const LiveEntry&) = delete;
  LiveEntry& operator=(const LiveEntry&) = delete;

  void Made();
  // rename(2) to its final name, after which nobody removes it. kIo: it stays what it was.
  void RenameTo(const std::filesystem::path& target);

 private:
  void Set(int state);
  bool Claim();  // false: it is being removed
  std::filesystem::path path_;
  bool made_ = false;
  int slot_ = -1;  // in the table; -1 when that is full or the path is too long for it
};

// Waits a second when RemoveLiveTemporaries was called: an error that comes of it is no news.
void AwaitEndAfterRemoval() noexcept;

// A hidden file or folder beside a target. It is locked (flock) for as long as it lives, and that
// is how others tell a living writer's from a dead one's, in another container too. Where locks do
// not work it gets a name that RemoveStaleTemporaries never touches. The first one in each folder
// removes what crashed writers left there.
class Temporary {
 public:
  enum class Kind { kFile, kFolder };

  // kIo, naming the target, when the system refuses.
  Temporary(const std::filesystem::path& target, Kind kind);
  ~Temporary();  // removes what has not been renamed
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Of a file: a descriptor for writing, the caller's to close.
  int OpenForWriting() const;
  // kIo: it is still there.
  void RenameTo(const std::filesystem::path& target);

 private:
  enum class Try { kMade, kNameTaken, kNoLocks };
  Try Make(Kind kind, const std::filesystem::path& target, bool lockable);
  void Remove() noexcept;

  std::filesystem::path path_;  // empty when there is nothing to remove
  std::optional<LiveEntry> entry_;
  int lock_ = -1;
};

// An older file that is out of sight while new ones take their names, under
// `.longspan-old-<pid>-<n>-<name>`. Of a writer that died RemoveStaleTemporaries puts it back where
// no new one arrived.
class HiddenFile {
 public:
  // kIo when there is a file and it cannot be renamed.
  explicit HiddenFile(const std::filesystem::path& target);
  ~HiddenFile();
  HiddenFile(HiddenFile&& other) noexcept;
  HiddenFile& operator=(HiddenFile&&) = delete;

  void PutBack() noexcept;
  void Remove() noexcept;

 private:
  std::filesystem::path target_, hidden_;  // hidden_ is empty when there is none
  int lock_ = -1;
};

// A file's name for a moment, to prove that files can be made; stale ones are removed too.
std::filesystem::path ProbePath(const std::filesystem::path& folder);

// Removes what crashed writers left in `folder`, and never what a living one is writing. What
// cannot be removed stays. kIo when the folder cannot be listed.
void RemoveStaleTemporaries(const std::filesystem::path& folder);
// The same for who comes to write there, once for each folder in the life of a process. Never
// fails: what cannot be cleared is no reason not to write.
void ClearOnce(const std::filesystem::path& folder);

}  // namespace longspan::io
