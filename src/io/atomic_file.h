// Files that appear whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "longspan/files.h"

namespace longspan::io {

// Creates the directory (and its parents) when it is missing and proves, by writing, syncing,
// renaming and removing a small file, that it can hold results. kIo otherwise: to be called at the
// start of a run, not after its first hour.
void EnsureWritableDirectory(const std::filesystem::path& directory);

// Makes the entries of a directory durable (fsync).
void SyncDirectory(const std::filesystem::path& directory);

}  // namespace longspan::io
