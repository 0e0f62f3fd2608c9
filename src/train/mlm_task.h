// A model learns to guess masked tokens of texts.
#pragma once

#include <optional>

#include "longspan/tokenizer.h"
#include "train/length_batches.h"
#include "train/mask_tokens.h"
#include "train/packed_rows.h"
#include "train/text_data.h"
#include "train/text_task.h"
#include "train/token_stream.h"

namespace longspan {

// Makes rows of a masked language model: adds special tokens around the content, and knows which
// tokens are never masked.
class MaskedRows {
 public:
  // kFormat when the tokenizer has no mask token, or ids that the model does not have.
  MaskedRows(const text::Tokenizer& tokenizer, const TextModelInfo& info, double mask_share);

  // Special tokens around a text.
  idx_t Around() const { return (begin_ ? 1 : 0) + (end_ ? 1 : 0); }
  // Tokens of text in a row of `tokens`.
  idx_t Content(idx_t tokens) const { return tokens - Around(); }
  // The token between two joined documents.
  std::optional<std::int32_t> separator() const { return end_; }
  // Writes a row with its labels; masks are drawn from `key`. Returns how many tokens are masked.
  idx_t Put(idx_t row, const TokenIds& content, std::uint64_t key, Batch* rows) const;
  // The same for documents side by side: pieces of `ids`, each between special tokens. Write rows
  // in order, because their documents are listed row after row.
  idx_t PutPacked(idx_t row, const TokenIds& ids, std::span<const PackedPieces::Piece> pieces,
                  std::uint64_t key, Batch* rows) const;

 private:
  // Appends the content between its special tokens.
  void Append(const TokenIds& content, std::vector<std::int32_t>* ids) const;
  idx_t PutMasked(idx_t row, std::vector<std::int32_t> ids, std::uint64_t key, Batch* rows) const;

  MaskRule rule_;
  std::optional<std::int32_t> begin_, end_;
  std::vector<std::uint8_t> special_;  // by id
};

// The masks of an update; step 0: those that every evaluation of a run sees.
constexpr idx_t kEvaluationStep = 0;
std::uint64_t MaskKey(std::uint64_t seed, idx_t step);

// kUsage for a share of masks that cannot be.
void CheckMaskedLmOptions(const MaskedLmOptions& task);

// A text for a masked LM: ids that are cut into rows anywhere, or documents packed into rows.
struct MaskedText {
  TokenIds ids;
  std::optional<PackedPieces> packed;

  // Ids [begin, end) of a stream; `packed`: its documents, the first one's rest included, in rows
  // of `tokens`.
  // `near`: as of PackedPieces.
  static MaskedText Of(const TokenStream& stream, idx_t begin, idx_t end, bool packed,
                       const MaskedRows& form, idx_t tokens,
                       const std::filesystem::path& near = {});
};

// Reads the files as one stream: documents with a separator between two or, if packed, without.
// `notes` gets lines about what was left out. `near`: the output of a training, where the ids lie
// in a file if they are many; empty: they are in memory.
TokenStream ReadMaskedText(Context& context, const text::Tokenizer& tokenizer,
                           const std::vector<std::filesystem::path>& files, const DataOptions& data,
                           const MaskedLmOptions& task, const MaskedRows& form,
                           const std::filesystem::path& near, std::vector<std::string>* notes);

// The loss over the text in rows of `tokens` side by side, or as they are packed, in
// batches of hooks.batch_tokens. The masks of row r are drawn from (key, r).
HeadLoss MaskedLoss(Context& context, TextModel& model, const MaskedRows& form,
                    const GlobalPolicy& global, const MaskedText& text, idx_t tokens,
                    std::uint64_t key, const EvalHooks& hooks = {});

class MaskedLmTask final : public TextTask {
 public:
  // Reads and tokenizes the texts. options.tokens is the row's length, not 0. kUsage when the texts
  // are shorter than a row that is not packed.
  MaskedLmTask(Context& context, const TrainOptions& options, const MaskedLmOptions& task,
               const text::Tokenizer& tokenizer, const TextModelInfo& info);

  void Load(const std::filesystem::path& directory, Origin origin,
            std::vector<std::string>* notes) override;
  std::string DataFingerprint() const override;
  nlohmann::json DecidingOptions() const override;
  StepSize Draw(idx_t step) override;
  TaskLoss Accumulate(Context& context, idx_t micro, float scale,
                      const StepDropout& dropout) override;
  std::vector<std::string> RowsOf(idx_t micro) const override;
  TaskEvaluation Evaluate(Context& context, const EvalHooks& hooks) override;

 private:
  // First token of row `row` of update `step` in the text. Packed: its index among the rows.
  idx_t Place(idx_t step, idx_t row) const;
  // Writes row `row` of update `step` into row r of `rows`. Returns how many tokens are masked.
  idx_t PutRow(idx_t step, idx_t row, idx_t r, Batch* rows);

  const MaskedLmOptions task_;
  MaskedRows form_;
  TokenStream train_stream_, eval_stream_;
  std::vector<std::string> notes_;  // about what was left out
  MaskedText train_, held_out_;     // of the streams
  mutable EpochOrder order_;        // of packed rows; keeps the epoch it was asked for last
  idx_t step_ = 0;                  // drawn last
  std::vector<Batch> micros_;       // of the update drawn last
};

}  // namespace longspan
