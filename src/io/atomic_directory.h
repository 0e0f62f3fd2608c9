// Folders that appear whole or not at all.
#pragma once

#include <filesystem>
#include <optional>

#include "io/temporaries.h"

namespace longspan::io {

// A hidden folder beside the target; Commit syncs it and renames it to the target. What is not
// committed is removed, and the target stays absent. A crash leaves a hidden `.longspan-tmp-*`,
// which the next writer beside the target takes away (io/temporaries.h).
class AtomicDirectory {
 public:
  // kUsage when the target exists and is no empty folder: nothing is ever overwritten. Parents are
  // created. kIo when the system refuses.
  explicit AtomicDirectory(const std::filesystem::path& target);
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  // Where the files go. Whoever writes them syncs them (io/atomic_file.h does).
  const std::filesystem::path& path() const { return temporary_->path(); }

  // Once only.
  void Commit();

 private:
  std::filesystem::path target_;
  std::optional<Temporary> temporary_;
  bool committed_ = false;
};

// Copies one regular file (a link is followed) byte for byte, atomically.
void CopyFile(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace longspan::io
