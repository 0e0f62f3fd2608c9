// Rows of ids, tokenized once, and batches of them.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "data/scratch_file.h"
#include "longspan/tokenizer.h"
#include "model/text_model.h"
#include "tasks/batches.h"
#include "train/eval_hooks.h"

namespace longspan {

// Rows of different lengths, one after another. Ids lie in scratch files, so that memory grows by
// some bytes a row, whatever its length. One thread at a time reads them. Move-only.
class EncodedRows {
 public:
  explicit EncodedRows(const data::ScratchPlace& place = {}) : ids_(place), types_(place) {}

  idx_t size() const { return static_cast<idx_t>(begins_.size()) - 1; }
  idx_t tokens() const { return begins_.back(); }  // of all rows
  // Where a row begins among all tokens; that of size() is tokens().
  idx_t begin(idx_t row) const { return begins_[static_cast<std::size_t>(row)]; }
  idx_t length(idx_t row) const { return begin(row + 1) - begin(row); }
  std::vector<idx_t> lengths() const;
  // "reviews.csv:12"
  const std::string& where(idx_t row) const { return where_[static_cast<std::size_t>(row)]; }
  // Valid until the next Add. `types` is empty if all types of all rows are 0. Errors of
  // ScratchFile::bytes.
  RowIds row(idx_t row) const;

  // A type for each id. kFormat for a row without a token; errors of ScratchFile::Append.
  void Add(std::span<const std::int32_t> row_ids, std::span<const std::int32_t> row_types,
           const std::string& place);
  // An encoded text. A type that the model has not is its last one, as where models are asked: a
  // RoBERTa has one.
  void Add(const text::Encoding& row, const TextModelInfo& info, const std::string& place);

 private:
  data::ScratchList<std::int32_t> ids_;
  data::ScratchList<std::int32_t> types_;  // nothing until a type is not 0
  std::vector<idx_t> begins_{0};           // where each row begins; its end is the next one's begin
  std::vector<std::string> where_;         // of each row
};

// What a resumed run must find again: the fingerprints of what was read, and how many tokens it has
// become.
template <class Rows>
std::string FingerprintOf(const Rows& train, const Rows& held_out) {
  return fmt::format("{} {} tokens {} and {}", train.fingerprint, held_out.fingerprint,
                     train.tokens(), held_out.tokens());
}

// The rows with these numbers as a batch without targets: side by side where the model takes them
// so, else padded to the longest.
Batch GatherRows(const EncodedRows& rows, std::span<const idx_t> numbers,
                 const TextModelInfo& info);
// Where the tokens of each of them begin in that batch.
std::vector<idx_t> BeginsIn(const EncodedRows& rows, std::span<const idx_t> numbers,
                            const TextModelInfo& info);

// The head's logits of some rows: (tokens of the batch, outputs), or (rows, outputs) of a head that
// reads a text as a whole.
using UseLogits = std::function<void(std::span<const idx_t> numbers, std::span<const idx_t> begins,
                                     std::span<const float> logits)>;
// Runs the model without dropout over all rows, in batches of hooks.batch_tokens that ranks share
// (train/eval_batches.h): `use` gets those of all ranks.
void ForEachLogits(Context& context, TextModel& model, const GlobalPolicy& global,
                   const EncodedRows& rows, const EvalHooks& hooks, const UseLogits& use);

}  // namespace longspan
