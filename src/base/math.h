// Integer helpers on extents.
#pragma once

#include <cassert>

#include "longspan/types.h"

namespace longspan {

// Smallest integer >= a / b, for a >= 0 and b > 0.
constexpr idx_t CeilDiv(idx_t a, idx_t b) { return (a + b - 1) / b; }

// Smallest multiple of b that is >= a.
constexpr idx_t RoundUp(idx_t a, idx_t b) { return CeilDiv(a, b) * b; }

}  // namespace longspan
