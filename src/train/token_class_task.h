// A model learns classes of words.
#pragma once

#include <string>
#include <vector>

#include "train/row_task.h"
#include "train/tagged_text.h"

namespace longspan {

// The labels that a training learns: those of a model with classes of tokens that knows all of the
// texts' tags already (FindLabel), else the texts' own, sorted. kFormat for fewer than two.
std::vector<std::string> ChooseTags(const TaggedTexts& texts, const TextModelInfo& info);

// Texts as rows of ids: each a text, or a window of it that has a labelled token.
struct TaggedRows : EncodedRows {
  explicit TaggedRows(const data::ScratchPlace& place = {})
      : EncodedRows(place), labels(place), words(place), gold(place) {}

  data::ScratchList<std::int32_t> labels;  // of each token: its class, or kIgnoreLabel
  // Of each labelled token the word whose first token it is, counted over all texts; else -1.
  data::ScratchList<idx_t> words;
  std::vector<idx_t> labelled;           // tokens of each row that have a class
  std::vector<idx_t> first_word{0};      // of each text, and how many there are
  data::ScratchList<std::int32_t> gold;  // the class of each word
  idx_t cut = 0;                         // texts that lost tokens
  std::string fingerprint;

  idx_t texts() const { return static_cast<idx_t>(first_word.size()) - 1; }
};

// `tokens`: of a row. kFormat for a tag that is not one of `labels` and where no word has a token;
// kLimit for a text that is too long and may be neither cut nor read in windows.
TaggedRows TokenizeTagged(Context& context, const text::Tokenizer& tokenizer,
                          const TaggedTexts& texts, const std::vector<std::string>& labels,
                          const TextModelInfo& info, const TokenClassOptions& task, idx_t tokens);

// How well the model tells the words, in batches of hooks.batch_tokens. `said`, if given,
// gets the class of each word, -1 for one without a token of its own.
TokenClassEval EvaluateTagged(Context& context, TextModel& model,
                              const std::vector<std::string>& labels, const GlobalPolicy& global,
                              const TaggedRows& rows, const EvalHooks& hooks = {},
                              std::vector<std::int32_t>* said = nullptr);

// The metrics of evaluations with these labels: of entities if they are such tags.
std::vector<std::string> TokenMetricNames(const std::vector<std::string>& labels);

class TokenClassTask final : public RowTask {
 public:
  TokenClassTask(const TrainOptions& options, const TokenClassOptions& task,
                 const text::Tokenizer& tokenizer, const TextModelInfo& info,
                 std::vector<std::string> labels, TaggedRows train, TaggedRows held_out);

  std::string DataFingerprint() const override { return FingerprintOf(train_, held_out_); }
  nlohmann::json DecidingOptions() const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;
  HeldOutTexts held_out_texts() const override { return {held_out_.texts(), ""}; }

 protected:
  idx_t Counted(idx_t row) const override { return train_.labelled[static_cast<std::size_t>(row)]; }
  double Weight(idx_t row) const override {
    return row_weights_.empty() ? 0.0 : row_weights_[static_cast<std::size_t>(row)];
  }
  Batch Gather(std::span<const idx_t> rows) const override;
  const std::string& Where(idx_t row) const override { return train_.where(row); }

 private:
  std::span<const std::int32_t> Labels(idx_t row) const;  // of its tokens

  const TokenClassOptions task_;
  const std::vector<std::string> labels_;
  const TaggedRows train_, held_out_;
  const std::vector<float> weights_;  // of the labels; empty: 1 each
  std::vector<double> row_weights_;   // of each row's words, where labels have weights
};

}  // namespace longspan
