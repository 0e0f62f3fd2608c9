// A model learns to guess masked tokens of texts.
#pragma once

#include "text/tokenizer.h"
#include "train/mask_tokens.h"
#include "train/text_task.h"
#include "train/token_stream.h"

namespace longspan {

// How rows of a masked language model are made: the special tokens around the content, and which
// tokens are never masked.
class MaskedRows {
 public:
  // kFormat when the tokenizer has no mask token, or ids that the model does not have.
  MaskedRows(const text::Tokenizer& tokenizer, const TextModelInfo& info, double mask_share);

  // Tokens of text in a row of `tokens`.
  idx_t Content(idx_t tokens) const;
  // What stands between two documents.
  std::optional<std::int32_t> separator() const { return end_; }
  // Writes a row with its labels; masks are drawn from `key`. Returns how many tokens are masked.
  idx_t Put(idx_t row, std::span<const std::int32_t> content, std::uint64_t key,
            PaddedRows* rows) const;

 private:
  MaskRule rule_;
  std::optional<std::int32_t> begin_, end_;
  std::vector<std::uint8_t> special_;  // by id
};

// The masks of an update; step 0: those that every evaluation of a run sees.
constexpr idx_t kEvaluation = 0;
std::uint64_t MaskKey(std::uint64_t seed, idx_t step);

// kUsage for a share of masks that cannot be.
void CheckMaskedLmOptions(const MaskedLmOptions& task);

// The last share of the ids.
std::span<const std::int32_t> LastPart(std::span<const std::int32_t> ids, double share);

// The loss over `content` cut into rows side by side, about 8192 tokens at a time. The masks of row
// r are drawn from (key, r).
HeadLoss MaskedLoss(Context& context, TextModel& model, const MaskedRows& form,
                    const GlobalPolicy& global, std::span<const std::int32_t> content, idx_t tokens,
                    std::uint64_t key);

class MaskedLmTask final : public TextTask {
 public:
  // Reads and tokenizes the texts. options.tokens is the row's length, not 0. kUsage when the texts
  // are shorter than a row.
  MaskedLmTask(Context& context, const TrainOptions& options, const MaskedLmOptions& task,
               const text::Tokenizer& tokenizer, const TextModelInfo& info);

  std::string DataFingerprint() const override;
  nlohmann::json DecidingOptions() const override;
  StepSize Draw(idx_t step) override;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                      const StepDropout& dropout) override;
  TaskEvaluation Evaluate(Context& context) override;

 private:
  const MaskedLmOptions task_;
  MaskedRows form_;
  TokenStream train_stream_, eval_stream_;
  std::span<const std::int32_t> train_, held_out_;  // of the streams
  std::vector<PaddedRows> micros_;                  // of the update drawn last
};

}  // namespace longspan
