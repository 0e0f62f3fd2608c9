#include "train/packed_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "base/errors.h"

namespace longspan {

PackedPieces::PackedPieces(std::span<const idx_t> starts, idx_t size, idx_t tokens, idx_t around,
                           const std::filesystem::path& near)
    : tokens_(tokens), around_(around), pieces_(near), ends_(near) {
  const idx_t least = std::max<idx_t>(2, around + 1), room = tokens - around;
  Check(tokens >= least, ErrorCode::kUsage, "packed: rows of {} tokens, need {}", tokens, least);
  RowChoice choice(tokens);
  std::deque<std::vector<Piece>> open;  // of the rows behind those that are written
  const auto write = [&](idx_t rows) {
    while (static_cast<idx_t>(ends_.size()) < rows) {
      for (const Piece& piece : open.front()) pieces_.Add(piece);
      ends_.Add(pieces_.size());
      open.pop_front();
    }
  };
  for (std::size_t d = 0; d < starts.size(); ++d) {
    const idx_t end = d + 1 < starts.size() ? starts[d + 1] : size;
    for (idx_t begin = starts[d]; begin < end; begin += room) {
      const Piece piece{begin, std::min(begin + room, end)};
      const idx_t row = choice.Put(piece.end - piece.begin + around);
      const auto at = static_cast<std::size_t>(row) - ends_.size();
      if (at == open.size()) open.emplace_back();
      open[at].push_back(piece);
      write(choice.closed());
    }
  }
  write(choice.rows());
  filled_ = choice.filled();
}

idx_t RowChoice::Put(idx_t size) {
  filled_ += size;
  for (std::size_t i = 0; i < open_.size(); ++i) {
    if (open_[i] + size > tokens_) continue;
    open_[i] += size;
    return closed_ + static_cast<idx_t>(i);
  }
  open_.push_back(size);
  const idx_t row = rows() - 1;
  if (open_.size() > PackedPieces::kOpen) {
    open_.pop_front();
    ++closed_;
  }
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
  const auto places = static_cast<double>(tokens) * static_cast<double>(choice.rows());
  return choice.rows() == 0 ? 0.0 : 1.0 - static_cast<double>(choice.filled()) / places;
}

double PackedPieces::padding() const {
  return 1.0 -
         static_cast<double>(filled_) / static_cast<double>(std::max<idx_t>(1, tokens_ * rows()));
}

std::span<const PackedPieces::Piece> PackedPieces::Pieces(idx_t row) const {
  const auto r = static_cast<std::size_t>(row);
  const auto ends = ends_.all();
  const std::size_t begin = r == 0 ? 0 : ends[r - 1];
  return pieces_.all().subspan(begin, ends[r] - begin);
}

idx_t PackedPieces::Filled(idx_t row) const {
  idx_t filled = 0;
  for (const Piece& piece : Pieces(row)) filled += piece.end - piece.begin + around_;
  return filled;
}

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
  std::vector<std::int32_t> ids;  // of a piece
  for (std::size_t r = 0; r < which.size(); ++r) {
    std::size_t at = r * static_cast<std::size_t>(tokens());
    for (const PackedPieces::Piece& piece : pieces_.Pieces(which[r])) {
      const auto length = static_cast<std::size_t>(piece.end - piece.begin);
      ids.clear();
      ids_.subspan(static_cast<std::size_t>(piece.begin), length).AppendTo(&ids);
      std::copy(ids.begin(), ids.end(), batch->ids.begin() + static_cast<std::ptrdiff_t>(at));
      std::copy(ids.begin() + 1, ids.end(),
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
