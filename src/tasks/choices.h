// Which of several answers fits a question.
#pragma once

#include <string>
#include <vector>

#include "tasks/task_model.h"

namespace longspan {

struct Question {
  std::string text;  // with what it is about, if there is something
  std::vector<std::string> choices;
};

// Each question with each of its choices as a pair: the rows for ScoreChoices.
std::vector<TaskText> ChoicePairs(std::span<const Question> questions);

// The probability of each choice of each question. One row for each pair, so nothing in windows:
// kUsage. kUsage for a question of fewer than two choices.
std::vector<std::vector<double>> ScoreChoices(Context& context, TaskModel& model,
                                              std::span<const Question> questions,
                                              const TaskRows& rows);

}  // namespace longspan
