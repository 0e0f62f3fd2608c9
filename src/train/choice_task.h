// A model learns to choose among answers.
#pragma once

#include <string>
#include <vector>

#include "train/choice_text.h"
#include "train/row_task.h"

namespace longspan {

// Each question with each of its choices as a row of ids.
struct ChoiceRows : EncodedRows {
  using EncodedRows::EncodedRows;
  std::vector<idx_t> first{0};       // row of each question, and how many there are
  std::vector<std::int32_t> labels;  // of each question
  idx_t cut = 0;                     // questions that lost tokens
  std::string fingerprint;

  idx_t questions() const { return static_cast<idx_t>(labels.size()); }
  idx_t choices(idx_t question) const {
    const auto q = static_cast<std::size_t>(question);
    return first[q + 1] - first[q];
  }
};

// `tokens`: of a row. kLimit for a question that is too long and may not be cut, with its place.
ChoiceRows TokenizeChoices(Context& context, const text::Tokenizer& tokenizer,
                           const ChoiceTexts& texts, const TextModelInfo& info,
                           const ChoiceTaskOptions& task, idx_t tokens);

// How well the model chooses. `logits`, if given, gets one for each row.
ChoiceEval EvaluateChoices(Context& context, TextModel& model, const GlobalPolicy& global,
                           const ChoiceRows& rows, const EvalHooks& hooks = {},
                           std::vector<float>* logits = nullptr);

class ChoiceTask final : public RowTask {
 public:
  ChoiceTask(const TrainOptions& options, const ChoiceTaskOptions& task,
             const text::Tokenizer& tokenizer, const TextModelInfo& info, ChoiceRows train,
             ChoiceRows held_out);

  std::string DataFingerprint() const override { return FingerprintOf(train_, held_out_); }
  nlohmann::json DecidingOptions() const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  HeldOutTexts held_out_texts() const override { return {held_out_.questions(), "accuracy"}; }

 protected:
  idx_t Counted(idx_t /*question*/) const override { return 1; }
  // Each choice of a question is a row.
  idx_t RowsOfMicro() const override { return options().batch * most_choices_; }
  // A batch has questions of one number of choices.
  idx_t Group(idx_t question) const override { return train_.choices(question); }
  Batch Gather(std::span<const idx_t> questions) const override;
  const std::string& Where(idx_t question) const override {
    return train_.where(train_.first[static_cast<std::size_t>(question)]);
  }

 private:
  const ChoiceTaskOptions task_;
  const ChoiceRows train_, held_out_;
  idx_t most_choices_ = 1;  // of a question
};

}  // namespace longspan
