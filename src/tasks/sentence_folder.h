// Reads the files of sentence-transformers beside a model.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "tasks/pooling.h"
#include "tasks/prompts.h"
#include "tasks/vector_modules.h"

namespace longspan {

struct SentenceFolder {
  Pooling pooling;
  VectorModules modules;            // behind the pooling, one after another
  std::optional<idx_t> max_tokens;  // longer texts are cut there
  bool lower_case = false;          // texts and prompts, before the tokenizer
  Prompts prompts;
  std::optional<idx_t> truncate_dim;  // numbers of a vector that stay, if it has more
};

// modules.json with the modules' folders, the transformer's sentence_*_config.json and
// config_sentence_transformers.json. Types are known by the last part of their names, which have
// moved between packages. A folder without modules.json has the mean and nothing behind it. kFormat
// for what cannot be done: a module that is unknown or stands where it cannot, vectors that are not
// as wide as a module wants. `channels`: of the model's vectors.
SentenceFolder ReadSentenceFolder(const std::filesystem::path& directory, idx_t channels);

// Width of the final vectors. Throws kFormat if a module does not accept its input's width.
idx_t VectorWidth(const Pooling& pooling, const VectorModules& modules, idx_t channels);

// A text in lower case, character by character, as Hugging Face's Lowercase normalizer.
std::string LowerCaseText(std::string_view text);

}  // namespace longspan
