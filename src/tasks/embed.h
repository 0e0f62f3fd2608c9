// A text as one vector.
#pragma once

#include <string>
#include <vector>

#include "tasks/pooling.h"
#include "tasks/task_model.h"
#include "tasks/vector_modules.h"

namespace longspan {

// The tokens that a prompt is by itself: special ones before it, then its own.
struct PromptTokens {
  idx_t before = 0;
  std::vector<std::int32_t> ids;
  bool none() const { return before == 0 && ids.empty(); }
};
PromptTokens TokensOfPrompt(const text::Tokenizer& tokenizer, const std::string& prompt);

struct EmbedOptions {
  Pooling pooling;
  VectorModules modules;  // behind it
  // The prompt before every text. A pooling with include_prompt false leaves out the tokens that
  // are only the prompt's (its last ones may be joined with the text that follows).
  PromptTokens prompt;
};

// Vectors (texts, VectorWidth), float. Of a text in several windows every token counts once (the
// window that sees more around it gives its vector), the windows' special tokens each; kCls is the
// mean of the windows' first tokens, kLastToken is the last window's. A text of which nothing is
// left to pool is the zero vector.
Tensor Embed(Context& context, TaskModel& model, const TaskRows& rows, const EmbedOptions& options);

}  // namespace longspan
