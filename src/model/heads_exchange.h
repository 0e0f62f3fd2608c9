// Attention where ranks share rows (world/row_group.h): it needs all tokens, but heads do not need
// each other. So each rank gets all tokens of some heads, attends as one process would, and sends
// the results back to the ranks that have the tokens.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/arena.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "world/row_group.h"

namespace longspan {

// Heads [first, first + count) of a layer.
struct HeadShare {
  idx_t first = 0, count = 0;
};
// Group `index` of `count` that each rank cuts its own heads into: one is exchanged while another
// one is computed. A rank with fewer heads than groups has empty ones.
struct HeadGroup {
  idx_t index = 0, count = 1;
};
// The heads of one of R ranks, or those of a group of them: as many as any other rank's, or one
// more.
HeadShare HeadsOf(int rank, int ranks, idx_t heads, HeadGroup part = {});
// Those of this process: all of them without a group.
HeadShare HeadsOf(const RowGroup* group, idx_t heads);
// kUsage if some rank would have none.
void CheckHeadsForRows(const RowGroup* group, idx_t heads);

// P projections of H heads of D channels: a row is [part][head][channel], P*H*D cells.
struct HeadColumns {
  idx_t parts = 1, heads = 1, size = 1;
  idx_t all() const { return parts * heads * size; }
};

// Both directions, for rows of fp32 or bf16, forward and backward alike: the gradient of one is the
// other. The values are copied, so results have the bits of one process. Its calls are made by all
// ranks of the group together.
class HeadsExchange {
 public:
  // Of N rows, cut as RowGroup::Borders(N) cuts tokens.
  HeadsExchange(RowGroup& group, idx_t rows, const HeadColumns& columns, HeadGroup part = {});
  // borders (R + 1): how many rows each rank has, which may be none: those of global tokens.
  // Messages count for `kind`.
  HeadsExchange(RowGroup& group, std::vector<idx_t> borders, const HeadColumns& columns,
                HeadGroup part = {}, ExchangeKind kind = ExchangeKind::kHeads);

  HeadShare share() const { return ShareOf(group_->rank()); }    // the heads that this rank gets
  idx_t rows() const { return borders_.back(); }                 // N
  TokenSlab mine() const;                                        // the rows that this rank has
  idx_t own_columns() const { return Columns(group_->rank()); }  // P*h*D of its heads

  // On its way. What it was called with and its frame stay as they are until Wait, which fills the
  // result. kPeer.
  class Flight {
   public:
    void Wait(Context& context);

   private:
    friend class HeadsExchange;
    RowGroup::Pending pending_;
    std::function<void(Context& context)> unpack_;
  };

  // Scratch of ToHeads and of ToSlab, in cells of the slab that go to others or come from them.
  template <class T>
  std::size_t Bytes() const;
  // own (N, P*h*D) = the rows of all ranks, from slab (mine().size(), P*H*D), whose rows may be
  // further apart.
  template <class T>
  [[nodiscard]] Flight ToHeads(Context& context, Arena::Frame& frame, const View<const T, 2>& slab,
                               const View<T, 2>& own) const;
  // The way back: slab's columns of all heads of the group `part`.
  template <class T>
  [[nodiscard]] Flight ToSlab(Context& context, Arena::Frame& frame, const View<const T, 2>& own,
                              const View<T, 2>& slab) const;

  // The same, waited for, with scratch of their own.
  template <class T>
  void GatherHeads(Context& context, const View<const T, 2>& slab, const View<T, 2>& own) const;
  template <class T>
  void ReturnHeads(Context& context, const View<const T, 2>& own, const View<T, 2>& slab) const;

 private:
  HeadShare ShareOf(int rank) const;
  bool Sends(const Context& context) const;
  idx_t Columns(int rank) const { return columns_.parts * ShareOf(rank).count * columns_.size; }
  idx_t RowsOf(int rank) const {
    const auto r = static_cast<std::size_t>(rank);
    return borders_[r + 1] - borders_[r];
  }
  // copy(row of the slab, its column, cell of the packed rows, cells) for each part of each row, in
  // parallel over the rows.
  template <class Copy>
  void ForParts(Context& context, int rank, const Copy& copy) const;
  template <class T>
  void Pack(Context& context, int rank, const View<const T, 2>& slab, T* packed) const;
  template <class T>
  void Unpack(Context& context, int rank, const T* packed, const View<T, 2>& slab) const;

  RowGroup* group_;
  std::vector<idx_t> borders_;
  HeadColumns columns_;
  HeadGroup part_;
  ExchangeKind kind_;
};

}  // namespace longspan
