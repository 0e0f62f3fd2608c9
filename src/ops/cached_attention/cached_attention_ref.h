// Cached attention in plain loops: what the kernel is compared with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "ops/cached_attention/cached_attention.h"

namespace longspan::ref {

// out (D) in T.
template <class T>
std::vector<T> AttendCached(const CachedQuery& q) {
  const auto size = static_cast<std::size_t>(q.size);
  std::vector<T> score;
  for (idx_t i = 0; i < q.count; ++i) {
    T s(0);
    for (idx_t d = 0; d < q.size; ++d) s += T(q.query[d]) * T(q.cells[i][d]);
    score.push_back(q.cells[i] == q.self ? T(-1e5) : s * T(q.scale));
  }
  const T max = *std::max_element(score.begin(), score.end());
  T sum(0);
  std::vector<T> out(size, T(0));
  for (idx_t i = 0; i < q.count; ++i) {
    const T weight = std::exp(score[static_cast<std::size_t>(i)] - max);
    sum += weight;
    for (std::size_t d = 0; d < size; ++d) out[d] += weight * T(q.cells[i][size + d]);
  }
  for (T& value : out) value /= sum;
  return out;
}

}  // namespace longspan::ref
