// Projections side by side as attention takes them, and its work.
#pragma once

#include "longspan/tensor.h"
#include "model/heads_exchange.h"

namespace longspan {

// Work of attention, for each pair of a query and a key and each channel of a head.
inline constexpr double kForwardFlop = 4.0, kBackwardFlop = 10.0;

// Part `part` of x (rows, P H D) as heads: (1, H, rows, D).
template <class T>
View<T, 4> PartOfHeads(const View<T, 2>& x, idx_t part, const HeadColumns& columns) {
  const idx_t rows = x.extent[0], stride = x.stride[0];
  return {x.data + part * columns.heads * columns.size,
          {1, columns.heads, rows, columns.size},
          {rows * stride, columns.size, stride, 1}};
}

}  // namespace longspan
