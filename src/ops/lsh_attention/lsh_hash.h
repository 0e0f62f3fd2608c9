// What the tasks of hashing share.
#pragma once

#include "longspan/attention.h"

namespace longspan {

struct LshHashArguments {
  View<const float, 4> qk;  // (B, H, T, D)
  KeyMask mask;
  LshRotations rotations;  // (H, D, R, columns)
  LshBuckets buckets;      // (B, H, R, T)
  const idx_t* factors = nullptr;
  idx_t factor_count = 0;
  idx_t columns = 0;        // of one round
  idx_t hidden_bucket = 0;  // of tokens that the mask hides
};

}  // namespace longspan
