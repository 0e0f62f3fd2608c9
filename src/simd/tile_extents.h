// What code without vectors must know of simd/tile-inl.h to plan memory, the same on every target.
#pragma once

#include "longspan/types.h"

namespace longspan {

// A multiple of the rows of a tile on any target.
inline constexpr idx_t kMostTileRows = 12;

}  // namespace longspan
