// Rows of ids, tokenized once, and batches of them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "longspan/tokenizer.h"
#include "model/text_model.h"
#include "train/eval_hooks.h"

namespace longspan {

// Rows of different lengths, one behind another.
struct EncodedRows {
  std::vector<std::int32_t> ids, types;  // of all rows
  std::vector<idx_t> begins{0};          // where each row begins; its end is the next one's begin
  bool with_types = false;               // some type is not 0
  std::vector<std::string> where;        // "reviews.csv:12" of each row

  idx_t size() const { return static_cast<idx_t>(begins.size()) - 1; }
  idx_t length(idx_t row) const {
    const auto r = static_cast<std::size_t>(row);
    return begins[r + 1] - begins[r];
  }
  std::vector<idx_t> lengths() const;

  // kFormat for a row without a token.
  void Add(std::span<const std::int32_t> row_ids, std::span<const std::int32_t> row_types,
           const std::string& place);
  // An encoded text. A type that the model has not is its last one, as where models are asked: a
  // RoBERTa has one.
  void Add(const text::Encoding& row, const TextModelInfo& info, const std::string& place);
};

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
                                     const Tensor& logits)>;
// Runs the model without dropout over all rows, in batches of about kEvalTokens.
void ForEachLogits(Context& context, TextModel& model, const GlobalPolicy& global,
                   const EncodedRows& rows, const EvalHooks& hooks, const UseLogits& use);

}  // namespace longspan
