// Ranks that share rows pass over them in steps: in each step every rank has a piece of its slab.
// What one step computes travels while the next one is computed, and no rank ever holds more of
// all heads than the pieces of two steps.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "base/arena.h"
#include "base/math.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/heads_exchange.h"
#include "world/row_group.h"

namespace longspan {

// One group of heads of each rank, in steps over N tokens. The calls of all ranks are the same.
class RowSteps {
 public:
  // `rows` tokens a step, at most. D channels a head.
  RowSteps(RowGroup& ranks, idx_t n, idx_t rows, idx_t heads, idx_t head_size, HeadGroup group)
      : ranks_(&ranks), borders_(ranks.Borders(n)), head_size_(head_size) {
    idx_t most = 0;
    for (int r = 0; r < ranks.size(); ++r) {
      shares_.push_back(HeadsOf(r, ranks.size(), heads, group));
      most = std::max(most, ranks.SlabOf(n, r).size());
    }
    rows_ = std::min(rows, most);
    count_ = CeilDiv(most, rows_);
  }

  idx_t count() const { return count_; }  // of steps
  idx_t rows() const { return rows_; }    // of a step, at most
  int ranks() const { return ranks_->size(); }
  bool IsOwn(int rank) const { return rank == ranks_->rank(); }
  HeadShare share(int rank) const { return shares_[static_cast<std::size_t>(rank)]; }
  // Cells of a token that hold P parts of a rank's heads.
  idx_t Columns(int rank, idx_t parts) const { return parts * share(rank).count * head_size_; }
  // The tokens of a rank in a step, which may be none.
  TokenSlab Of(int rank, idx_t step) const {
    const auto r = static_cast<std::size_t>(rank);
    const idx_t begin = std::min(borders_[r] + step * rows_, borders_[r + 1]);
    return {begin, std::min(begin + rows_, borders_[r + 1])};
  }
  TokenSlab Mine(idx_t step) const { return Of(ranks_->rank(), step); }
  idx_t first() const { return borders_[static_cast<std::size_t>(ranks_->rank())]; }

  // Cells of a piece for or from all other ranks.
  idx_t OtherCells(idx_t parts) const {
    idx_t columns = 0;
    for (int r = 0; r < ranks(); ++r) columns += IsOwn(r) ? 0 : Columns(r, parts);
    return rows_ * columns;
  }

  // all (N, P h D) has all tokens of this rank's heads, and `room` OtherCells(P) cells. A step's
  // pieces by rank, (tokens, P h D) with the heads of that rank: the own one lies in `all`.
  template <class T>
  std::vector<View<T, 2>> Pieces(const View<T, 2>& all, idx_t parts, idx_t step, T* room) const {
    const TokenSlab mine = Mine(step);
    std::vector<View<T, 2>> pieces;
    for (int r = 0; r < ranks(); ++r) {
      if (IsOwn(r)) {
        pieces.push_back(all.Rows(mine.begin, mine.size()));
        continue;
      }
      pieces.emplace_back(room, std::array<idx_t, 2>{mine.size(), Columns(r, parts)});
      room += mine.size() * Columns(r, parts);
    }
    return pieces;
  }
  // Sends this step's pieces of Pieces to the ranks whose heads they are, and receives this rank's
  // heads of all tokens of the step into `all`.
  template <class T>
  RowGroup::Pending ToHeads(Context& context, const std::vector<View<T, 2>>& pieces,
                            const View<T, 2>& all, idx_t step) const {
    return Exchange(context, pieces, all, step, true);
  }
  // The way back: from `all` to the pieces.
  template <class T>
  RowGroup::Pending ToSlabs(Context& context, const std::vector<View<T, 2>>& pieces,
                            const View<T, 2>& all, idx_t step) const {
    return Exchange(context, pieces, all, step, false);
  }

 private:
  template <class T>
  RowGroup::Pending Exchange(Context& context, const std::vector<View<T, 2>>& pieces,
                             const View<T, 2>& all, idx_t step, bool to_heads) const {
    if (context.rehearsal() && !ranks_->rehearses()) return {};
    std::vector<RowGroup::Piece> of_slab, of_heads;
    const auto piece_of = [](const View<T, 2>& rows) -> RowGroup::Piece {
      return {rows.data, static_cast<std::size_t>(rows.size()) * sizeof(T)};
    };
    for (int r = 0; r < ranks(); ++r) {
      const TokenSlab tokens = Of(r, step);
      of_slab.push_back(IsOwn(r) ? RowGroup::Piece{}
                                 : piece_of(pieces[static_cast<std::size_t>(r)]));
      of_heads.push_back(IsOwn(r) ? RowGroup::Piece{}
                                  : piece_of(all.Rows(tokens.begin, tokens.size())));
    }
    return to_heads ? ranks_->Exchange(ExchangeKind::kHeads, of_slab, of_heads)
                    : ranks_->Exchange(ExchangeKind::kHeads, of_heads, of_slab);
  }

  RowGroup* ranks_;
  std::vector<idx_t> borders_;
  std::vector<HeadShare> shares_;
  idx_t head_size_, rows_ = 0, count_ = 0;
};

// The results of one step, computed while those of the step before travel. compute(step, pieces)
// fills the pieces of `all` (Pieces).
template <class T, class Compute>
void SendHeads(Context& context, const RowSteps& steps, const View<T, 2>& all, idx_t parts,
               const Compute& compute) {
  const idx_t cells = steps.OtherCells(parts);
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<T>(cells));
  std::array<T*, 2> rooms = {frame.Take<T>(cells), frame.Take<T>(cells)};
  std::array<RowGroup::Pending, 2> flights;
  for (idx_t step = 0; step < steps.count(); ++step) {
    const auto turn = static_cast<std::size_t>(step % 2);
    flights[turn].Wait();
    const auto pieces = steps.Pieces(all, parts, step, rooms[turn]);
    compute(step, pieces);
    flights[turn] = steps.ToHeads(context, pieces, all, step);
  }
  for (RowGroup::Pending& flight : flights) flight.Wait();
}

// The pieces of one step, used while those of the next one travel. use(step, pieces).
template <class T, class Use>
void ReceiveHeads(Context& context, const RowSteps& steps, const View<T, 2>& all, idx_t parts,
                  const Use& use) {
  const idx_t cells = steps.OtherCells(parts);
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<T>(cells));
  std::array<T*, 2> rooms = {frame.Take<T>(cells), frame.Take<T>(cells)};
  std::array<RowGroup::Pending, 2> flights;
  const auto pieces_of = [&](idx_t step) {
    return steps.Pieces(all, parts, step, rooms[static_cast<std::size_t>(step % 2)]);
  };
  const auto start = [&](idx_t step) {
    flights[static_cast<std::size_t>(step % 2)] =
        steps.ToSlabs(context, pieces_of(step), all, step);
  };
  start(0);
  for (idx_t step = 0; step < steps.count(); ++step) {
    if (step + 1 < steps.count()) start(step + 1);
    flights[static_cast<std::size_t>(step % 2)].Wait();
    use(step, pieces_of(step));
  }
}

}  // namespace longspan
