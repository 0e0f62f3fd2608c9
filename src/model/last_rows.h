// The rows of the last layer that somebody reads, where those are not all. The layer attends from
// all rows, as its keys and values need them, and computes what follows attention for these alone:
// their output projection, residual sums, norms and feed-forward block.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/arena.h"
#include "base/rng.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "model/rows.h"
#include "world/row_group.h"

namespace longspan {

class LastRows {
 public:
  // All rows are read.
  LastRows() = default;
  // Those of `tokens`, ascending numbers among all tokens of a batch, of which the slab's fall to
  // this rank.
  LastRows(std::span<const std::int32_t> tokens, const TokenSlab& slab) : all_(false) {
    for (const std::int32_t token : tokens) {
      if (token < slab.begin) ++first_;
      if (token < slab.begin || token >= slab.end) continue;
      numbers_.push_back(token);
      rows_.push_back(static_cast<std::int32_t>(token - slab.begin));
    }
  }

  bool all() const { return all_; }
  // What follows is of this rank, and nothing where all are read.
  idx_t count() const { return std::ssize(rows_); }
  // Their numbers among all tokens of the batch, and as rows of this rank's streams.
  std::span<const std::int32_t> numbers() const { return numbers_; }
  std::span<const std::int32_t> rows() const { return rows_; }
  // The place of the first of them among all tokens that are read.
  idx_t first() const { return first_; }

  // The rows of a stream (n, C) that the last layer has written: all, or the first ones.
  template <class T>
  View<T, 2> Of(const View<T, 2>& stream) const {
    return all_ ? stream : stream.Rows(0, count());
  }

 private:
  bool all_ = true;
  std::vector<std::int32_t> numbers_, rows_;
  idx_t first_ = 0;
};

// ---- in a layer ---------------------------------------------------------------------------------
//
// A Call of a layer has n() and slab(), and `last`: null where all rows are read, as in all layers
// but the last.

// The rows of the layer's output, and their numbers for dropout.
template <class Call>
idx_t OutputRows(const Call& call) {
  return call.last == nullptr ? call.n() : call.last->count();
}
template <class Call>
RowNumbers OutputNumbers(const Call& call) {
  if (call.last == nullptr) return {call.slab().begin, {}};
  return {0, call.last->numbers()};
}

// The output's rows of x (n, C): x itself, or copies in scratch that lives as long as this.
template <class T>
class RowsTaken {
 public:
  RowsTaken(Context& context, const LastRows* last, const View<const T, 2>& x)
      : frame_(context.arena(), Arena::Bytes<T>(last == nullptr ? 0 : Size(*last, x))), view_(x) {
    if (last == nullptr) return;
    const View<T, 2> room(frame_.template Take<T>(Size(*last, x)), {last->count(), x.extent[1]});
    GatherRows<T>(context, last->rows(), x, room);
    view_ = room;
  }
  const View<const T, 2>& view() const { return view_; }

 private:
  static idx_t Size(const LastRows& last, const View<const T, 2>& x) {
    return last.count() * x.extent[1];
  }

  Arena::Frame frame_;
  View<const T, 2> view_;
};

// The output's rows of x (n, C), which become its first ones.
template <class T>
View<T, 2> KeepOutputRows(Context& context, const LastRows* last, const View<T, 2>& x) {
  if (last == nullptr) return x;
  CompactRows(context, last->rows(), x);
  return last->Of(x);
}

// The way back of a gradient: from the first rows of dx (n, C) to all of it, 0 for rows that nobody
// reads.
template <class T>
void SpreadOutputRows(Context& context, const LastRows* last, const View<T, 2>& dx) {
  if (last != nullptr) SpreadRows(context, last->rows(), dx);
}

}  // namespace longspan
