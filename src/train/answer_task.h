// A model learns to mark answers in texts.
#pragma once

#include <string>
#include <vector>

#include "train/answered_text.h"
#include "train/row_task.h"

namespace longspan {

// The first and the last token of an answer, places in a row. Both 0: the row does not have it.
struct AnswerTokens {
  std::int32_t start = 0, end = 0;
};
// The tokens of a window's second text that hold these characters of it: from the last token that
// begins at or before them to the first that ends at or behind them.
AnswerTokens TokensOfAnswer(const text::Encoding& window, text::Span answer);

template <>
struct RowFields<text::Encoding> {
  static auto Of(auto& row) {
    return std::tie(row.ids, row.type_ids, row.chars, row.bytes, row.special, row.sequence,
                    row.dropped, row.first_token);
  }
};

// Questions as rows of ids: each a window over the context.
struct AnswerRows : EncodedRows {
  explicit AnswerRows(const data::ScratchPlace& place = {}) : EncodedRows(place), windows(place) {}

  std::vector<std::int32_t> starts, ends;  // of each row
  std::vector<idx_t> first{0};             // row of each question, and how many there are
  // Of rows that are to be answered, and not only learnt from: the rows with all that is known of
  // their tokens.
  StoredRows<text::Encoding> windows;
  idx_t cut = 0;  // questions whose context lost tokens
  std::string fingerprint;

  idx_t questions() const { return static_cast<idx_t>(first.size()) - 1; }
};

// `tokens`: of a row. `answered`: keeps AnswerRows::windows. kLimit for a
// question that is too long, with its place; kUsage for a stride that cannot be.
AnswerRows TokenizeAnswered(Context& context, const text::Tokenizer& tokenizer,
                            const AnsweredTexts& texts, const TextModelInfo& info,
                            const AnswerTaskOptions& task, idx_t tokens, bool answered);

// How well the model answers: `rows` of `texts` with their windows. `may_be_none` lets it say that
// there is no answer.
AnswerEval EvaluateAnswers(Context& context, TextModel& model, const GlobalPolicy& global,
                           const AnswerRows& rows, const AnsweredTexts& texts, idx_t longest,
                           bool may_be_none, const EvalHooks& hooks = {},
                           std::vector<AnsweredPair>* pairs = nullptr);

class AnswerTask final : public RowTask {
 public:
  // `held_texts` are those of `held_out`, which has windows.
  AnswerTask(const TrainOptions& options, const AnswerTaskOptions& task,
             const text::Tokenizer& tokenizer, const TextModelInfo& info, AnswerRows train,
             AnswerRows held_out, AnsweredTexts held_texts, bool may_be_none);

  std::string DataFingerprint() const override { return FingerprintOf(train_, held_out_); }
  nlohmann::json DecidingOptions() const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  HeldOutTexts held_out_texts() const override { return {held_out_.questions(), "exact_match"}; }

 protected:
  idx_t Counted(idx_t /*row*/) const override { return 1; }
  // Places of a row compete, those of padding too: where rows do not stand side by side, those of
  // one length run together, without any.
  idx_t Group(idx_t row) const override { return info().side_by_side ? 0 : train_.length(row); }
  Batch Gather(std::span<const idx_t> rows) const override;
  const std::string& Where(idx_t row) const override { return train_.where(row); }

 private:
  const AnswerTaskOptions task_;
  const bool may_be_none_;
  const AnswerRows train_, held_out_;
  const AnsweredTexts held_texts_;
};

}  // namespace longspan
