// Which rows run together: rows of like length, so that next to nothing is padding, or any rows
// side by side.
#pragma once

#include <span>
#include <vector>

#include "longspan/types.h"

namespace longspan {

// Groups of row numbers, the longest rows first; within a group as they came. Of every row of a
// group at most one token in kLeastShare is padding, and a group of more than one row has at most
// `batch_tokens` tokens, padding included.
inline constexpr idx_t kLeastShare = 16;
std::vector<std::vector<idx_t>> PlanBatches(std::span<const idx_t> lengths, idx_t batch_tokens);

// The same for rows that stand side by side without padding: a group of more than one row has at
// most `batch_tokens` tokens, whatever the lengths.
std::vector<std::vector<idx_t>> PlanSideBySide(std::span<const idx_t> lengths, idx_t batch_tokens);

}  // namespace longspan
