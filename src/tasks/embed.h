// The vectors of texts from those of their tokens.
#pragma once

#include <vector>

#include "tasks/task_model.h"
#include "tasks/text_pooling.h"
#include "tasks/vector_modules.h"

namespace longspan {

// How vectors are made.
struct VectorPlan {
  Pooling pooling;
  VectorModules modules;  // after it
  // The prompt before every text. A pooling with include_prompt false leaves out the
  // places that it takes by itself.
  PromptTokens prompt;
};

// As Embedder::Embed (longspan/tasks.h): (texts, VectorWidth).
Tensor EmbedRows(Context& context, const TaskModel& model, const TaskRows& rows,
                 const VectorPlan& plan);

// As Embedder::EmbedTokens: (own tokens, width) of each text.
std::vector<Tensor> EmbedTokensOfRows(Context& context, const TaskModel& model,
                                      const TaskRows& rows);

}  // namespace longspan
