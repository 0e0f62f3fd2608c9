#include "train/packed_rows.h"

#include <algorithm>
#include <numeric>

#include "base/errors.h"

namespace longspan {

PackedRows::PackedRows(std::span<const std::int32_t> ids, std::span<const idx_t> starts,
                       idx_t tokens, std::int32_t pad)
    : ids_(ids), tokens_(tokens), pad_(pad) {
  Check(tokens >= 2, ErrorCode::kUsage, "packed: rows of {} tokens, need 2", tokens);
  RowChoice choice(tokens);
  for (std::size_t d = 0; d < starts.size(); ++d) {
    const idx_t end = d + 1 < starts.size() ? starts[d + 1] : static_cast<idx_t>(ids.size());
    for (idx_t begin = starts[d]; begin < end; begin += tokens) {
      const Piece piece{begin, std::min(begin + tokens, end)};
      const std::size_t row = choice.Put(piece.end - piece.begin);
      if (row == rows_.size()) rows_.emplace_back();
      rows_[row].push_back(piece);
    }
  }
  filled_ = choice.filled();
}

std::size_t RowChoice::Put(idx_t size) {
  std::size_t row = filled_.size() - std::min(filled_.size(), PackedRows::kOpen);
  while (row < filled_.size() && filled_[row] + size > tokens_) ++row;
  if (row == filled_.size()) filled_.push_back(0);
  filled_[row] += size;
  return row;
}

double PackedPadding(std::span<const idx_t> lengths, idx_t tokens) {
  RowChoice choice(tokens);
  for (idx_t length : lengths) {
    for (; length > 0; length -= tokens) choice.Put(std::min(length, tokens));
  }
  const auto& filled = choice.filled();
  const idx_t sum = std::accumulate(filled.begin(), filled.end(), idx_t{0});
  const auto places = static_cast<double>(tokens) * static_cast<double>(filled.size());
  return filled.empty() ? 0.0 : 1.0 - static_cast<double>(sum) / places;
}

double PackedRows::padding() const {
  const idx_t filled = std::accumulate(filled_.begin(), filled_.end(), idx_t{0});
  return 1.0 -
         static_cast<double>(filled) / static_cast<double>(std::max<idx_t>(1, tokens_ * rows()));
}

idx_t PackedRows::Filled(idx_t row) const { return filled_[static_cast<std::size_t>(row)]; }

idx_t PackedRows::Predicted(idx_t row) const {
  return Filled(row) - static_cast<idx_t>(rows_[static_cast<std::size_t>(row)].size());
}

TokenBatch PackedRows::Fill(std::span<const idx_t> which, Batch* batch) const {
  const std::size_t size = which.size() * static_cast<std::size_t>(tokens_);
  batch->ids.assign(size, pad_);
  batch->targets.assign(size, kIgnoreLabel);
  batch->documents.clear();
  for (std::size_t r = 0; r < which.size(); ++r) {
    std::size_t at = r * static_cast<std::size_t>(tokens_);
    for (const Piece& piece : rows_[static_cast<std::size_t>(which[r])]) {
      const auto length = static_cast<std::size_t>(piece.end - piece.begin);
      const auto tokens = ids_.subspan(static_cast<std::size_t>(piece.begin), length);
      std::copy(tokens.begin(), tokens.end(), batch->ids.begin() + static_cast<std::ptrdiff_t>(at));
      std::copy(tokens.begin() + 1, tokens.end(),
                batch->targets.begin() + static_cast<std::ptrdiff_t>(at));
      batch->documents.push_back(static_cast<idx_t>(length));
      at += length;
    }
    const idx_t empty = tokens_ - Filled(which[r]);
    if (empty > 0) batch->documents.push_back(empty);
  }
  TokenBatch result{static_cast<idx_t>(which.size()), tokens_, batch->ids, batch->targets, {}};
  result.documents = batch->documents;
  return result;
}

}  // namespace longspan
