// Answers from a model's logits, for whoever has run the model (longspan/tasks.h: FindAnswers).
#pragma once

#include <span>
#include <vector>

#include "longspan/tasks.h"

namespace longspan {

// The logits of a row of T tokens, -infinity where no answer can start or end.
struct AnswerLogits {
  std::vector<float> starts, ends;  // (T)

  AnswerLogits() = default;
  // `logits`: (T, 2).
  AnswerLogits(const text::Encoding& row, const float* logits);
};

// The best answers of a text, from the logits of each of its windows.
std::vector<Answer> BestAnswers(std::span<const text::Encoding> windows,
                                std::span<const AnswerLogits> logits, const AnswerOptions& options);

}  // namespace longspan
