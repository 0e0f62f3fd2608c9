#include "base/errors.h"
#include "longspan/tasks.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"

namespace longspan {

std::string JoinQuestion(const std::string& context, const std::string& question) {
  if (context.empty() || question.empty()) return context + question;
  return context + (context.back() == '\n' || context.back() == ' ' ? "" : " ") + question;
}

std::vector<TaskText> ChoicePairs(std::span<const Question> questions) {
  std::vector<TaskText> pairs;
  for (const Question& question : questions) {
    for (const std::string& choice : question.choices) pairs.push_back({question.text, choice});
  }
  return pairs;
}

std::vector<std::vector<double>> ScoreChoices(Context& context, const TaskModel& model,
                                              std::span<const Question> questions) {
  return ScoreChoices(context, model, questions,
                      model.Encode(context, ChoicePairs(questions), kChoiceRows));
}

std::vector<std::vector<double>> ScoreChoices(Context& context, const TaskModel& model,
                                              std::span<const Question> questions,
                                              const TaskRows& rows) {
  RequireHead(model, HeadKind::kChoice);
  CheckRows(rows);
  Check(static_cast<idx_t>(rows.rows.size()) == rows.texts(), ErrorCode::kUsage,
        "multiple-choice: {} rows for {} pairs; a question cannot be answered in windows",
        rows.rows.size(), rows.texts());
  std::size_t pairs = 0;
  for (std::size_t q = 0; q < questions.size(); ++q) {
    pairs += questions[q].choices.size();
    Check(questions[q].choices.size() >= 2, ErrorCode::kUsage,
          "multiple-choice: question {} has {} choices, need at least 2", q + 1,
          questions[q].choices.size());
  }
  Check(rows.rows.size() == pairs, ErrorCode::kUsage, "multiple-choice: {} rows for {} pairs",
        rows.rows.size(), pairs);
  std::vector<float> logits(rows.rows.size());
  // scores (B, 1): a choice by itself.
  RunLogits(context, model, rows.rows, [&](std::span<const idx_t> numbers, const Tensor& scores) {
    for (std::size_t b = 0; b < numbers.size(); ++b) {
      logits[static_cast<std::size_t>(numbers[b])] = scores.data<float>()[b];
    }
  });
  std::vector<std::vector<double>> result;
  std::size_t at = 0;
  for (const Question& question : questions) {
    result.push_back(Softmax(std::span<const float>(logits).subspan(at, question.choices.size())));
    at += question.choices.size();
  }
  return result;
}

}  // namespace longspan
