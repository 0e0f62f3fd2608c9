// How strictly files from outside are taken, for the whole process: set before the first model is
// opened. The program does so from --strict-paths and --strict.
#pragma once

#include <filesystem>

#include "longspan/files.h"

namespace longspan::io {

// Says that `folder` holds a model or a tokenizer: with strict_paths every file below it that is
// opened from now on (File::OpenRegular) has to be reached without leaving it, else kFormat.
// Without strict_paths it does nothing. Whoever opens such a folder calls this first.
void Confine(const std::filesystem::path& folder);

// The innermost folder given to Confine that `path` is spelled below; empty: none.
std::filesystem::path ConfinedFolderOf(const std::filesystem::path& path);

}  // namespace longspan::io
