#include "train/packed_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/errors.h"

namespace longspan {

PackedPieces::PackedPieces(std::span<const idx_t> starts, idx_t size, idx_t tokens, idx_t around)
    : tokens_(tokens) {
  const idx_t least = std::max<idx_t>(2, around + 1), room = tokens - around;
  Check(tokens >= least, ErrorCode::kUsage, "packed: rows of {} tokens, need {}", tokens, least);
  RowChoice choice(tokens);
  for (std::size_t d = 0; d < starts.size(); ++d) {
    const idx_t end = d + 1 < starts.size() ? starts[d + 1] : size;
    for (idx_t begin = starts[d]; begin < end; begin += room) {
      const Piece piece{begin, std::min(begin + room, end)};
      const std::size_t row = choice.Put(piece.end - piece.begin + around);
      if (row == rows_.size()) rows_.emplace_back();
      rows_[row].push_back(piece);
    }
  }
  filled_ = choice.filled();
}

std::size_t RowChoice::Put(idx_t size) {
  std::size_t row = filled_.size() - std::min(filled_.size(), PackedPieces::kOpen);
  while (row < filled_.size() && filled_[row] + size > tokens_) ++row;
  if (row == filled_.size()) filled_.push_back(0);
  filled_[row] += size;
  return row;
}

double PackedPadding(std::span<const idx_t> lengths, idx_t tokens, idx_t around) {
  RowChoice choice(tokens);
  const idx_t room = std::max<idx_t>(1, tokens - around);
  for (const idx_t length : lengths) {
    for (idx_t rest = length - around; rest > 0; rest -= room) {
      choice.Put(std::min(std::min(rest, room) + around, tokens));
    }
  }
  const auto& filled = choice.filled();
  const idx_t sum = std::accumulate(filled.begin(), filled.end(), idx_t{0});
  const auto places = static_cast<double>(tokens) * static_cast<double>(filled.size());
  return filled.empty() ? 0.0 : 1.0 - static_cast<double>(sum) / places;
}

double PackedPieces::padding() const {
  const idx_t filled = std::accumulate(filled_.begin(), filled_.end(), idx_t{0});
  return 1.0 -
         static_cast<double>(filled) / static_cast<double>(std::max<idx_t>(1, tokens_ * rows()));
}

idx_t PackedPieces::Filled(idx_t row) const { return filled_[static_cast<std::size_t>(row)]; }

std::string PackedPieces::Describe() const {
  return fmt::format("in {} rows of {}; {:.1f} % is padding", rows(), tokens(), 100.0 * padding());
}

std::string PackedPieces::WhereIs(idx_t row) const {
  constexpr std::size_t kShown = 4;  // a row may hold hundreds of short documents
  const std::span<const Piece> pieces = Pieces(row);
  std::string text = "tokens ";
  for (std::size_t i = 0; i < std::min(pieces.size(), kShown); ++i) {
    text += fmt::format("{}{} to {}", i == 0 ? "" : ", ", pieces[i].begin, pieces[i].end);
  }
  if (pieces.size() > kShown) text += fmt::format(" and {} pieces more", pieces.size() - kShown);
  return text + " of the training text";
}

idx_t PackedRows::Predicted(idx_t row) const {
  return Filled(row) - static_cast<idx_t>(pieces_.Pieces(row).size());
}

BatchView PackedRows::Fill(std::span<const idx_t> which, Batch* batch) const {
  batch->Reset(static_cast<idx_t>(which.size()), tokens(), pad_);
  batch->labels.assign(batch->ids.size(), kIgnoreLabel);
  for (std::size_t r = 0; r < which.size(); ++r) {
    std::size_t at = r * static_cast<std::size_t>(tokens());
    for (const PackedPieces::Piece& piece : pieces_.Pieces(which[r])) {
      const auto length = static_cast<std::size_t>(piece.end - piece.begin);
      const auto tokens = ids_.subspan(static_cast<std::size_t>(piece.begin), length);
      std::copy(tokens.begin(), tokens.end(), batch->ids.begin() + static_cast<std::ptrdiff_t>(at));
      std::copy(tokens.begin() + 1, tokens.end(),
                batch->labels.begin() + static_cast<std::ptrdiff_t>(at));
      batch->documents.push_back(static_cast<idx_t>(length));
      at += length;
    }
    const idx_t empty = tokens() - Filled(which[r]);
    if (empty > 0) batch->documents.push_back(empty);
  }
  BatchView result = batch->view();
  result.roles = {};
  return result;
}

}  // namespace longspan
