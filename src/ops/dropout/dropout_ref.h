// Dropout in plain loops. The mask is the definition itself: Dropout::Factor, one element a call.
#pragma once

#include <vector>

#include "base/rng.h"

namespace longspan {

// x[i] times the factor of element first + i, in the arithmetic of T.
template <class T>
std::vector<T> DropoutReference(const Dropout& dropout, const std::vector<T>& x, idx_t first) {
  std::vector<T> y = x;
  if (!dropout.active()) return y;
  for (std::size_t i = 0; i < y.size(); ++i) {
    y[i] *= T(dropout.Factor(first + static_cast<idx_t>(i)));
  }
  return y;
}

}  // namespace longspan
