// Clearing what gradients are added into.
#pragma once

#include <algorithm>
#include <cstring>

#include "base/math.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "parallel/parallel_for.h"

namespace longspan {

// x (N, C) = 0.
inline void ZeroRows(Context& context, const View<float, 2>& x) {
  constexpr idx_t kRows = 256;  // of a task: some hundred kilobytes
  const auto bytes = static_cast<std::size_t>(x.extent[1]) * sizeof(float);
  ParallelFor(context, CeilDiv(x.extent[0], kRows), [&](idx_t task, int) {
    const idx_t end = std::min(x.extent[0], (task + 1) * kRows);
    for (idx_t t = task * kRows; t < end; ++t) std::memset(&x(t, 0), 0, bytes);
  });
}

}  // namespace longspan
