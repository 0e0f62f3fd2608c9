// What the tasks of hashing share.
#pragma once

#include "base/math.h"
#include "longspan/attention.h"
#include "tensor/mixed_view.h"

namespace longspan {

// The most tokens whose projections are in the cache at once: the widest panel of
// simd/tile-inl.h.
inline constexpr idx_t kHashPanel = 64;

// Floats of a thread's scratch: x as floats if it is bf16, its transposed panel, and projections.
inline idx_t LshHashRoom(idx_t D, idx_t columns) {
  return kHashPanel * (RoundUp(D, 16) + D + columns);
}

struct LshHashArguments {
  InView qk;  // (B, H, T, D)
  KeyMask mask;
  LshRotations rotations;  // (H, D, R, columns)
  LshBuckets buckets;      // (B, H, R, T)
  const idx_t* factors = nullptr;
  idx_t factor_count = 0;
  idx_t columns = 0;        // of one round
  idx_t hidden_bucket = 0;  // of tokens that the mask hides
};

}  // namespace longspan
