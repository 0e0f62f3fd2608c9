// Rows that ranks which share rows (world/row_group.h) see of each other: they travel from their
// owners to those that see them, and what comes for them travels back.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "base/arena.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "world/row_group.h"

namespace longspan {

// `rows` rows of one rank that another one sees, or the same one elsewhere: they begin at row
// `owned` of the owner's tensor and at row `seen` of the viewer's.
struct SeenRows {
  int owner = 0, viewer = 0;
  idx_t owned = 0, seen = 0, rows = 0;
};

// Columns [column, column + width) of the rows in a list that is the same on all ranks. Its calls
// are made by all of them together.
template <class E>
class HaloExchange {
 public:
  // `owned` and `seen` may be one tensor. Scratch: the cells that travel, packed, on any rank what
  // the one with most of them takes. Messages count for `kind`: halos, or what global tokens need.
  HaloExchange(Context& context, RowGroup& group, ExchangeKind kind, std::span<const SeenRows> list,
               const View<E, 2>& owned, const View<E, 2>& seen, idx_t column, idx_t width);

  // Owners send their rows, Fill waits for those that this rank sees. `flop`: what this rank
  // computes in between, for plans.
  void Send(double flop = 0.0);
  void Fill();
  // The way back: what this rank has for the rows that it sees goes to their owners. Add waits for
  // what others have for its own rows, and adds it in the order of the ranks.
  void Return(double flop = 0.0);
  void Add();

 private:
  using Cells = std::vector<std::vector<idx_t>>;  // by owner and viewer
  Cells CountCells() const;
  std::size_t Bytes(int rank) const;
  std::size_t MostBytes() const;
  idx_t CellsOf(int owner, int viewer) const {
    return cells_[static_cast<std::size_t>(owner)][static_cast<std::size_t>(viewer)];
  }
  // copy(packed row, row of the tensor) for those that this rank owns (or sees), by the other rank.
  template <class Copy>
  void EachRow(bool owns, const Copy& copy) const;
  void Pack(bool owns) const;
  void Start(bool owns, double flop);
  void CountRehearsed(bool owns, double flop) const;

  Context& context_;
  RowGroup& group_;
  const ExchangeKind kind_;
  const std::span<const SeenRows> list_;
  const View<E, 2> owned_, seen_;
  const idx_t column_, width_;
  const Cells cells_;
  Arena::Frame frame_;
  std::vector<E*> shown_, arrived_;  // by rank: own rows that it sees; its rows that this one sees
  RowGroup::Pending pending_;
};

}  // namespace longspan
