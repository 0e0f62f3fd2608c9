// Which folder holds a model's own files.
#pragma once

#include <filesystem>

namespace longspan::io {

// `folder` itself, or the folder in it that holds the transformer of a sentence-transformers model:
// the first one that its modules.json names, or 0_Transformer, where it is no link and a
// config.json is in it. Every reader of a model's folder goes through this, so that the outer
// folder serves for the inner one. A modules.json that cannot be read names none: who reads the
// modules says what is wrong with it.
std::filesystem::path TransformerFolder(const std::filesystem::path& folder);

}  // namespace longspan::io
