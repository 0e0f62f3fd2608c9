#include "model/halo_exchange.h"

#include <algorithm>
#include <cstring>

#include "model/rows.h"

namespace longspan {

template <class E>
HaloExchange<E>::HaloExchange(Context& context, RowGroup& group, ExchangeKind kind,
                              std::span<const SeenRows> list, const View<E, 2>& owned,
                              const View<E, 2>& seen, idx_t column, idx_t width)
    : context_(context),
      group_(group),
      kind_(kind),
      list_(list),
      owned_(owned),
      seen_(seen),
      column_(column),
      width_(width),
      cells_(CountCells()),
      frame_(context.arena(), MostBytes()) {
  const int own = group.rank();
  for (int r = 0; r < group.size(); ++r) {
    shown_.push_back(frame_.template Take<E>(CellsOf(own, r)));
    arrived_.push_back(frame_.template Take<E>(CellsOf(r, own)));
  }
}

template <class E>
typename HaloExchange<E>::Cells HaloExchange<E>::CountCells() const {
  const auto ranks = static_cast<std::size_t>(group_.size());
  Cells cells(ranks, std::vector<idx_t>(ranks, 0));
  for (const SeenRows& rows : list_) {
    cells[static_cast<std::size_t>(rows.owner)][static_cast<std::size_t>(rows.viewer)] +=
        rows.rows * width_;
  }
  return cells;
}

template <class E>
std::size_t HaloExchange<E>::Bytes(int rank) const {
  std::size_t bytes = 0;
  for (int r = 0; r < group_.size(); ++r) {
    bytes += Arena::Bytes<E>(CellsOf(rank, r)) + Arena::Bytes<E>(CellsOf(r, rank));
  }
  return bytes;
}

template <class E>
std::size_t HaloExchange<E>::MostBytes() const {
  std::size_t most = 0;
  for (int r = 0; r < group_.size(); ++r) most = std::max(most, Bytes(r));
  return most;
}

template <class E>
template <class Copy>
void HaloExchange<E>::EachRow(bool owns, const Copy& copy) const {
  std::vector<E*> at = owns ? shown_ : arrived_;
  const View<E, 2>& x = owns ? owned_ : seen_;
  for (int other = 0; other < group_.size(); ++other) {
    E*& packed = at[static_cast<std::size_t>(other)];
    for (const SeenRows& rows : list_) {
      const bool here = owns ? rows.owner == group_.rank() && rows.viewer == other
                             : rows.viewer == group_.rank() && rows.owner == other;
      if (!here) continue;
      const idx_t first = owns ? rows.owned : rows.seen;
      ForEachRow(context_, rows.rows,
                 [&](idx_t t) { copy(packed + t * width_, &x(first + t, column_)); });
      packed += rows.rows * width_;
    }
  }
}

template <class E>
void HaloExchange<E>::Pack(bool owns) const {
  const auto bytes = static_cast<std::size_t>(width_) * sizeof(E);
  EachRow(owns, [&](E* packed, const E* row) { std::memcpy(packed, row, bytes); });
}

template <class E>
void HaloExchange<E>::Send(double flop) {
  Pack(true);
  Start(true, flop);
}

template <class E>
void HaloExchange<E>::Fill() {
  pending_.Wait();
  const auto bytes = static_cast<std::size_t>(width_) * sizeof(E);
  EachRow(false, [&](const E* packed, E* row) { std::memcpy(row, packed, bytes); });
}

template <class E>
void HaloExchange<E>::Return(double flop) {
  Pack(false);
  Start(false, flop);
}

template <class E>
void HaloExchange<E>::Add() {
  pending_.Wait();
  EachRow(true, [&](const E* packed, E* row) {
    for (idx_t c = 0; c < width_; ++c) row[c] += packed[c];
  });
}

template <class E>
void HaloExchange<E>::Start(bool owns, double flop) {
  if (group_.rehearses()) return CountRehearsed(owns, flop);
  if (context_.rehearsal()) return;
  std::vector<RowGroup::Piece> owned, seen;
  const auto piece = [&](E* data, idx_t cells) {
    return RowGroup::Piece{data, static_cast<std::size_t>(cells) * sizeof(E)};
  };
  for (int r = 0; r < group_.size(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    owned.push_back(piece(shown_[i], CellsOf(group_.rank(), r)));
    seen.push_back(piece(arrived_[i], CellsOf(r, group_.rank())));
  }
  pending_ = owns ? group_.Exchange(kind_, owned, seen) : group_.Exchange(kind_, seen, owned);
}

// What the rank sends that sends most: those in the middle of a row have two neighbours.
template <class E>
void HaloExchange<E>::CountRehearsed(bool owns, double flop) const {
  idx_t most = 0;
  for (int rank = 0; rank < group_.size(); ++rank) {
    idx_t cells = 0;
    for (int r = 0; r < group_.size(); ++r) {
      if (r != rank) cells += owns ? CellsOf(rank, r) : CellsOf(r, rank);
    }
    most = std::max(most, cells);
  }
  const std::uint64_t bytes = static_cast<std::uint64_t>(most) * sizeof(E);
  group_.CountRehearsed(bytes);
  if (flop > 0.0) group_.CountBeside(bytes, flop);
}

template class HaloExchange<float>;
// Gradients are fp32: nothing is added in bf16.
template HaloExchange<bfloat16>::HaloExchange(Context&, RowGroup&, ExchangeKind,
                                              std::span<const SeenRows>, const View<bfloat16, 2>&,
                                              const View<bfloat16, 2>&, idx_t, idx_t);
template void HaloExchange<bfloat16>::Send(double);
template void HaloExchange<bfloat16>::Fill();

}  // namespace longspan
