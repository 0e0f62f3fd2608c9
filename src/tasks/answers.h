// The part of a text that answers a question.
#pragma once

#include <vector>

#include "tasks/task_model.h"

namespace longspan {

struct Answer {
  double score = 0.0;       // P(start) P(end) among all tokens of the text, all windows
  text::Span chars, bytes;  // of the second text; [0, 0): there is no answer
  bool none = false;        // "the text does not say"
};

struct AnswerOptions {
  idx_t most = 1;            // answers for each question
  idx_t longest = 30;        // tokens of an answer
  bool may_be_none = false;  // the first token's score counts as "no answer"
};

// Rows are pairs: the question and the text. Answers start and end in the text, the best first; two
// that read the same (one found in overlapping windows) are one. With one window the scores are
// those of Hugging Face's pipeline; with several, one softmax goes over all of them.
std::vector<std::vector<Answer>> FindAnswers(Context& context, TaskModel& model,
                                             const TaskRows& rows, const AnswerOptions& options);

}  // namespace longspan
