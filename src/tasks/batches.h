// Which rows run together: rows of like length, so that next to nothing is padding, or any rows
// side by side.
#pragma once

#include <span>
#include <vector>

#include "model/batch.h"
#include "model/text_model_info.h"

namespace longspan {

// Groups of row numbers, the longest rows first; within a group as they came. Of every row of a
// group at most one token in kLeastShare is padding, and a group of more than one row has at most
// `batch_tokens` tokens, padding included.
inline constexpr idx_t kLeastShare = 16;
std::vector<std::vector<idx_t>> PlanBatches(std::span<const idx_t> lengths, idx_t batch_tokens);

// The same for rows that stand side by side without padding: a group of more than one row has at
// most `batch_tokens` tokens, whatever the lengths.
std::vector<std::vector<idx_t>> PlanSideBySide(std::span<const idx_t> lengths, idx_t batch_tokens);

// Which of the two suits a model.
std::vector<std::vector<idx_t>> PlanRows(const TextModelInfo& info, std::span<const idx_t> lengths,
                                         idx_t batch_tokens);

// The tokens of a row. No types: all are 0.
struct RowIds {
  std::span<const std::int32_t> ids, types;
};
// Makes a batch of rows: side by side in one row where the model takes them so, else one rectangle
// with hidden padding after the shorter ones. Returns each one's first token of the batch.
std::vector<idx_t> PlaceRows(const TextModelInfo& info, std::span<const RowIds> rows, Batch* batch);

}  // namespace longspan
