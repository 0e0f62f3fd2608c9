// Loops over gradients, in parallel.
#pragma once

#include <algorithm>

#include "base/math.h"
#include "longspan/context.h"
#include "parallel/parallel_for.h"

namespace longspan {

// body(begin, end) for parts of [begin, end) of one task each.
template <class Body>
void ForGradientParts(const Context& context, idx_t begin, idx_t end, const Body& body) {
  constexpr idx_t kTask = 1 << 14;  // floats
  ParallelFor(context, CeilDiv(end - begin, kTask), [&](idx_t task, int) {
    const idx_t from = begin + task * kTask;
    body(from, std::min(from + kTask, end));
  });
}

// y[i] = x[i] + y[i] for i in [begin, end)
inline void AddGradients(const Context& context, const float* x, idx_t begin, idx_t end, float* y) {
  ForGradientParts(context, begin, end, [&](idx_t from, idx_t to) {
    for (idx_t i = from; i < to; ++i) y[i] = x[i] + y[i];
  });
}

}  // namespace longspan
