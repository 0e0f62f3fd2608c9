// Clearing what gradients are added into, and copying rows.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include "base/arena.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "parallel/parallel_for.h"
#include "streams/residual_stream.h"

namespace longspan {

// Rows a task of an element-wise pass takes: some hundred kilobytes.
inline constexpr idx_t kRowsOfTask = 256;

// Scratch for `rows` rows of `cols` floats.
inline View<float, 2> TakeRows(Arena::Frame& frame, idx_t rows, idx_t cols) {
  return {frame.Take<float>(rows * cols), {rows, cols}};
}

// Calls row(t) for rows [0, rows).
template <class Row>
void ForEachRow(Context& context, idx_t rows, const Row& row) {
  ParallelFor(context, CeilDiv(rows, kRowsOfTask), [&](idx_t task, int) {
    const idx_t end = std::min(rows, (task + 1) * kRowsOfTask);
    for (idx_t t = task * kRowsOfTask; t < end; ++t) row(t);
  });
}

// Layers pass over a text slab by slab: tokens of 4 MiB of floats, and slabs end where groups of
// dropout end.
inline constexpr idx_t kSlabValues = idx_t{1} << 20, kSlabStep = 256;

// Tokens of a slab of a text of n tokens, `width` floats each.
inline idx_t SlabRows(idx_t n, idx_t width) {
  return std::min(n, RoundUp(CeilDiv(kSlabValues, width), kSlabStep));
}
// work(first token, tokens) for each slab.
template <class Work>
void EachSlab(idx_t n, idx_t slab, const Work& work) {
  for (idx_t begin = 0; begin < n; begin += slab) work(begin, std::min(slab, n - begin));
}

// x (N, C) = 0.
inline void ZeroRows(Context& context, const View<float, 2>& x) {
  const auto bytes = static_cast<std::size_t>(x.extent[1]) * sizeof(float);
  ForEachRow(context, x.extent[0], [&](idx_t t) { std::memset(&x(t, 0), 0, bytes); });
}

// to (N, C) = from.
template <class T>
void CopyElements(Context& context, const View<const T, 2>& from, const View<T, 2>& to) {
  const auto bytes = static_cast<std::size_t>(from.extent[1]) * sizeof(T);
  ForEachRow(context, from.extent[0], [&](idx_t t) { std::memcpy(&to(t, 0), &from(t, 0), bytes); });
}
inline void CopyRows(Context& context, const View<const float, 2>& from, const View<float, 2>& to) {
  CopyElements<float>(context, from, to);
}
inline void CopyRows(Context& context, const View<const bfloat16, 2>& from,
                     const View<bfloat16, 2>& to) {
  CopyElements<bfloat16>(context, from, to);
}

// to (rows.size(), C) = rows of from (N, C).
template <class T>
void GatherRows(Context& context, std::span<const std::int32_t> rows, const View<const T, 2>& from,
                const View<T, 2>& to) {
  const auto bytes = static_cast<std::size_t>(from.extent[1]) * sizeof(T);
  ForEachRow(context, static_cast<idx_t>(rows.size()), [&](idx_t i) {
    std::memcpy(&to(i, 0), &from(rows[static_cast<std::size_t>(i)], 0), bytes);
  });
}

// Columns that a task moves from row to row of one matrix.
inline constexpr idx_t kMovedColumns = 64;

// Rows `rows` of x (N, C), whose numbers ascend, become its first ones, in place.
template <class T>
void CompactRows(Context& context, std::span<const std::int32_t> rows, const View<T, 2>& x) {
  const idx_t width = x.extent[1];
  ParallelFor(context, CeilDiv(width, kMovedColumns), [&](idx_t task, int) {
    const idx_t column = task * kMovedColumns, count = std::min(kMovedColumns, width - column);
    for (idx_t i = 0; i < std::ssize(rows); ++i) {
      const idx_t from = rows[static_cast<std::size_t>(i)];
      if (from != i) std::copy_n(&x(from, column), count, &x(i, column));
    }
  });
}

// The way back: the first rows of x (N, C) go to where `rows` says, and all others become 0.
template <class T>
void SpreadRows(Context& context, std::span<const std::int32_t> rows, const View<T, 2>& x) {
  const idx_t width = x.extent[1];
  ParallelFor(context, CeilDiv(width, kMovedColumns), [&](idx_t task, int) {
    const idx_t column = task * kMovedColumns, count = std::min(kMovedColumns, width - column);
    // From the end: what row t is overwritten with stands in a row that is no later.
    idx_t left = std::ssize(rows);
    for (idx_t t = x.extent[0]; t-- > 0;) {
      if (left == 0 || rows[static_cast<std::size_t>(left - 1)] != t) {
        std::fill_n(&x(t, column), count, T{});
      } else if (--left != t) {
        std::copy_n(&x(left, column), count, &x(t, column));
      }
    }
  });
}

// to (N, C) = from, rounded where it is bf16.
inline void StoreRows(Context& context, const View<const float, 2>& from,
                      const View<float, 2>& to) {
  CopyRows(context, from, to);
}
inline void StoreRows(Context& context, const View<const float, 2>& from,
                      const View<bfloat16, 2>& to) {
  gemm::Round(context, from, to);
}

// dx += what add(View<float, 2>) adds to the rows that it is given: to dx itself, or by way of
// `room` (N C floats) where dx is not fp32.
template <class Add>
void AddToGradient(Context& context, const ResidualStream& dx, float* room,
                   const RoundingSite& site, const Add& add) {
  if (dx.cells == StreamCells::kF32) return add(dx.Floats());
  const View<float, 2> terms(room, dx.extent);
  ZeroRows(context, terms);
  add(terms);
  AddRows(context, terms, dx, site);
}

inline Tensor CopyOf(Context& context, const View<const float, 2>& x) {
  Tensor copy({x.extent[0], x.extent[1]});
  CopyRows(context, x, copy.view<2>());
  return copy;
}

}  // namespace longspan
