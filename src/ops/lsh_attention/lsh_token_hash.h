// Hashing one token at a time with rotations that stay the same: generation.
#pragma once

#include <cstdint>
#include <vector>

#include "longspan/attention.h"

namespace longspan {

// Keeps the rotations as single tokens want them: nothing is packed for a token. The buckets are
// those that LshHash gives a token of the same numbers, bit for bit.
class LshTokenHash {
 public:
  // rotations (H, D, R, columns); copied. kUsage as LshHash.
  LshTokenHash(const LshSpec& spec, const LshRotations& rotations);

  const LshSpec& spec() const { return spec_; }
  // The rotations, for LshHash of many tokens.
  LshRotations rotations() const;

  // buckets (R) of x (D) as head h has it; `scratch` has room for scratch_floats(), aligned to a
  // cache line. On the calling thread. Cost 2 D R columns flop.
  void Hash(idx_t h, const float* x, float* scratch, std::uint16_t* buckets) const;
  idx_t scratch_floats() const { return stride_; }

 private:
  LshSpec spec_;
  Tensor padded_;  // (H, D, stride): the rotations of all rounds, zero beyond
  idx_t stride_ = 0;
};

}  // namespace longspan
