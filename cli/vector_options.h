// How texts become vectors: the options that `embed` and `similar` share.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "longspan/tasks.h"

namespace longspan::cli {

struct VectorOptions {
  std::optional<std::string> pooling, prompt, prompt_name;
  std::optional<idx_t> truncate_dim;
  bool no_prompt = false, normalize = false, no_normalize = false;
};

// Registers --pooling, --normalize, --no-normalize, --truncate-dim, --prompt, --prompt-name and
// --no-prompt. `options` outlives the command.
void AddVectorOptions(CLI::App& command, VectorOptions& options);
// An option for a text of the user's, which may be empty: an empty one is not the same as none.
CLI::Option* AddTextOption(CLI::App& command, const char* names, std::optional<std::string>& value,
                           const char* help);

EmbedOptions EmbedOptionsOf(const VectorOptions& options);

// Says on stderr what stands before every text, if anything does. `chosen`: an option named it.
void TellPrompt(const Embedder& embedder, bool chosen);

}  // namespace longspan::cli
