// Hashing one token at a time with rotations that stay the same: generation.
#pragma once

#include <cstdint>
#include <vector>

#include "longspan/attention.h"

namespace longspan {

// Keeps the rotations packed, so a token costs its products alone. The buckets are those that
// LshHash gives a token of the same numbers, bit for bit.
class LshTokenHash {
 public:
  // rotations (H, D, R, columns), contiguous; copied. kUsage as LshHash.
  LshTokenHash(Context& context, const LshSpec& spec, const LshRotations& rotations);

  const LshSpec& spec() const { return spec_; }
  // The rotations as they were given, for LshHash of many tokens.
  LshRotations rotations() const { return rotations_.view<4>(); }

  // buckets (R) of x (D) as head h has it; `scratch` has room for scratch_floats(). On the calling
  // thread. Cost 2 D R columns flop.
  void Hash(idx_t h, const float* x, float* scratch, std::uint16_t* buckets) const;
  idx_t scratch_floats() const { return scratch_; }

 private:
  LshSpec spec_;
  Tensor rotations_, packed_;  // packed: (H, panels)
  idx_t panels_ = 0, stride_ = 0, scratch_ = 0;
};

}  // namespace longspan
