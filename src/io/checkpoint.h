// Checkpoints that survive crashes and notice damage: folders checkpoint-<step> of plain files with
// a manifest of their lengths and checksums. docs/reference/files.md gives layout and commit order.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "io/manifest.h"
#include "io/safetensors.h"
#include "io/temporaries.h"
#include "longspan/types.h"

namespace longspan::io {

struct CheckpointInfo {
  idx_t step = 0;
  std::filesystem::path path;
};

// Writes one checkpoint into a hidden folder and makes it visible in one rename. What is not
// committed is removed by the destructor. All system errors are kIo.
class CheckpointWriter {
 public:
  CheckpointWriter(const std::filesystem::path& run_dir, idx_t step);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Each file is written, checksummed on the way, synced and closed. Names are plain
  // ([A-Za-z0-9._-], no leading dot), each once, not manifest.json.
  void AddFile(std::string_view name, std::string_view bytes);
  void AddFile(std::string_view name, const std::function<void(ByteSink&)>& write);
  void AddTensors(std::string_view name, std::span<const TensorEntry> entries,
                  const std::map<std::string, std::string>& metadata = {});

  // Calls write(folder) with the folder of the unfinished checkpoint. The files that it leaves
  // there, synced, and in folders there, become the checkpoint's. kUsage for names that are not
  // plain and for folders in folders.
  void AddWritten(const std::function<void(const std::filesystem::path& folder)>& write);

  // Writes the manifest, syncs the folders, renames it to checkpoint-<step>, syncs run_dir. A
  // checkpoint of the same step that is already there is replaced. Returns the final path. When it
  // fails the run's folder is what it was before.
  std::filesystem::path Commit();

 private:
  void Add(std::string_view name, const std::function<void(ByteSink&)>& write,
           std::uint64_t expected_bytes);
  // kUsage for a file that may not have this name, or comes when it must not.
  void CheckMayAdd(std::string_view name) const;
  std::filesystem::path run_dir_, temporary_;
  Manifest manifest_;
  std::set<std::string> folders_;  // of files that AddWritten found
  std::optional<LiveEntry> live_;
  bool whole_ = true;  // no AddFile has failed
  bool committed_ = false;
};

// Committed checkpoints, ascending by step. Judges by name only: reads no file.
std::vector<CheckpointInfo> ListCheckpoints(const std::filesystem::path& run_dir);

// Whether a folder has a checkpoint's name and manifest, and no file that the manifest does not
// list: what a run wrote, whole or not, and nobody else's. Follows no link; damage is no error.
bool IsCheckpoint(const std::filesystem::path& folder);

// Reads every byte. kFormat naming the file and what is wrong with it (missing, length, checksum,
// manifest); kIo when the system refuses to read.
void VerifyCheckpoint(const std::filesystem::path& checkpoint);

// The newest checkpoint that verifies. Newer ones that are damaged or cannot be read are skipped,
// with one line each appended to `warnings`. Empty when there is none at all; kFormat when there
// are some and all are damaged, kIo when none of them could be read.
std::optional<CheckpointInfo> LatestValidCheckpoint(const std::filesystem::path& run_dir,
                                                    std::vector<std::string>* warnings);

// Keeps the `keep_last` (>= 2, so that a damaged newest one has a predecessor) newest checkpoints
// and the one of `best_step`; removes the others, oldest first, each renamed out of sight before
// its files go. Also removes what crashed writers left. The caller holds the lock.
void RotateCheckpoints(const std::filesystem::path& run_dir, idx_t keep_last,
                       std::optional<idx_t> best_step);

// Clears what a crash left: unfinished and half-deleted checkpoints, temporary files; puts back a
// checkpoint whose replacement was interrupted. To be called at the start of a run, under the lock.
void RecoverRunDirectory(const std::filesystem::path& run_dir);

// The best checkpoint so far. run_dir/best.json says it to people; a run has it in its own state.
struct BestCheckpoint {
  idx_t step = 0;
  std::string metric;  // "eval_loss"
  double value = 0.0;
};
void WriteBest(const std::filesystem::path& run_dir, const BestCheckpoint& best);

// An exclusive lock on a directory, held as long as the object lives; the system releases it when
// the process dies, however it dies. kLocked names the owner's pid where it is known. Local file
// systems only: NFS is not supported.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::filesystem::path& directory);
  ~DirectoryLock();
  DirectoryLock(DirectoryLock&& other) noexcept;
  DirectoryLock& operator=(DirectoryLock&&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace longspan::io
