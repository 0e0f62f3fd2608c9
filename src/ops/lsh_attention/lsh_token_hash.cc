#include "ops/lsh_attention/lsh_token_hash.h"

#include <algorithm>

#include "base/errors.h"
#include "base/math.h"
#include "ops/lsh_attention/lsh_checks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/lsh_attention/lsh_token_hash.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "ops/lsh_attention/lsh_token_hash-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(ProjectToken);
HWY_EXPORT(NearestDirection);

namespace {

constexpr idx_t kWidestVector = 16;  // floats, on any target

}  // namespace

LshTokenHash::LshTokenHash(const LshSpec& spec, const LshRotations& rotations) : spec_(spec) {
  const idx_t H = rotations.extent[0], D = rotations.extent[1];
  const idx_t R = spec.rounds, columns = spec.RotationColumns();
  CheckLshInput(spec, View<const float, 4>(rotations.data, {1, H, 1, D}), {}, true);
  CheckLshCall(rotations, "rotations", {H, D, R, columns});
  stride_ = RoundUp(R * columns, kWidestVector);
  padded_ = Tensor({H, D, stride_});
  for (idx_t h = 0; h < H; ++h) {
    for (idx_t k = 0; k < D; ++k) {
      for (idx_t r = 0; r < R; ++r) {
        std::copy_n(&rotations(h, k, r, 0), columns,
                    padded_.data<float>() + (h * D + k) * stride_ + r * columns);
      }
    }
  }
}

LshRotations LshTokenHash::rotations() const {
  const idx_t H = padded_.shape()[0], D = padded_.shape()[1], columns = spec_.RotationColumns();
  return {padded_.data<float>(), {H, D, spec_.rounds, columns}, {D * stride_, stride_, columns, 1}};
}

void LshTokenHash::Hash(idx_t h, const float* x, float* scratch, std::uint16_t* buckets) const {
  const idx_t D = padded_.shape()[1];
  HWY_DYNAMIC_DISPATCH(ProjectToken)
  (x, D, padded_.data<float>() + h * D * stride_, stride_, scratch);
  const float* p = scratch;
  for (idx_t r = 0; r < spec_.rounds; ++r) {
    idx_t bucket = 0, place = 1;
    for (const idx_t factor : spec_.buckets) {
      bucket += place * HWY_DYNAMIC_DISPATCH(NearestDirection)(p, factor / 2);
      place *= factor;
      p += factor / 2;
    }
    buckets[r] = static_cast<std::uint16_t>(bucket);
  }
}

}  // namespace longspan
#endif  // HWY_ONCE
