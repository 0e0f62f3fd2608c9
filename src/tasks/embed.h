// The vectors of texts from those of their tokens.
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

// How vectors are made.
struct VectorPlan {
  Pooling pooling;
  VectorModules modules;  // after it
  // The prompt before every text. A pooling with include_prompt false leaves out the tokens that
  // are only the prompt's (its last ones may be joined with the text that follows).
  PromptTokens prompt;
};

// As Embedder::Embed (longspan/tasks.h): (texts, VectorWidth).
Tensor EmbedRows(Context& context, const TaskModel& model, const TaskRows& rows,
                 const VectorPlan& plan);

}  // namespace longspan
