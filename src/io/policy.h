// How strictly files from outside are taken, for the whole process: set before the first model is
// opened. The program does so from --strict-paths and --strict.
#pragma once

#include <filesystem>

namespace longspan::io {

struct Policy {
  // Links inside a model's folder may not lead out of it. A hub's cache is made of such links.
  bool strict_paths = false;
  // Tensors that the model has no place for are an error instead of a warning.
  bool strict_weights = false;
};

void SetPolicy(const Policy& policy);
const Policy& GetPolicy();

// Says that `folder` holds a model or a tokenizer: with strict_paths every file below it that is
// opened from now on (File::OpenRegular) has to be reached without leaving it, else kFormat.
// Without strict_paths it does nothing. Whoever opens such a folder calls this first.
void Confine(const std::filesystem::path& folder);

// The innermost folder given to Confine that `path` is spelled below; empty: none.
std::filesystem::path ConfinedFolderOf(const std::filesystem::path& path);

}  // namespace longspan::io
