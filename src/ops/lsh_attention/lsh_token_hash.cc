#include "ops/lsh_attention/lsh_token_hash.h"

#include <algorithm>

#include "base/errors.h"
#include "base/math.h"
#include "ops/lsh_attention/lsh_checks.h"
#include "ops/lsh_attention/lsh_hash.h"
#include "parallel/parallel_for.h"
#include "simd/tile_extents.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/lsh_attention/lsh_token_hash.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/lsh_attention/lsh_hash-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(LshPackRotations);
HWY_EXPORT(LshHashTask);

namespace {

constexpr idx_t kPanelUnit = 64;  // the widest panel of simd/tile-inl.h

// What the hash of one token of one head reads and writes, as a text of one token.
LshHashArguments OneToken(const LshSpec& spec, const LshRotations& rotations, const float* x,
                          std::uint16_t* buckets) {
  LshHashArguments args;
  args.qk = {x, {1, 1, 1, rotations.extent[1]}};
  args.rotations = rotations;
  args.buckets = {buckets, {1, 1, spec.rounds, 1}};
  args.factors = spec.buckets.data();
  args.factor_count = static_cast<idx_t>(spec.buckets.size());
  args.columns = spec.RotationColumns();
  args.hidden_bucket = spec.BucketCount();
  return args;
}

}  // namespace

LshTokenHash::LshTokenHash(Context& context, const LshSpec& spec, const LshRotations& rotations)
    : spec_(spec) {
  const idx_t H = rotations.extent[0], D = rotations.extent[1];
  const idx_t R = spec.rounds, columns = spec.RotationColumns();
  CheckLshInput(spec, {rotations.data, {1, H, 1, D}}, {}, true);
  CheckLshView(rotations, "rotations", {H, D, R, columns});
  Check(rotations.contiguous(), ErrorCode::kUsage, "LSH attention: the rotations have gaps");
  rotations_ = Tensor({H, D, R, columns});
  std::copy_n(rotations.data, rotations.size(), rotations_.data<float>());
  stride_ = RoundUp(R * columns, kPanelUnit);
  panels_ = stride_ * D;
  scratch_ = kMostTileRows * stride_;
  packed_ = Tensor({H, panels_});
  const LshHashArguments args = OneToken(spec_, rotations_.view<4>(), nullptr, nullptr);
  ParallelFor(context, H, [&](idx_t h, int) {
    HWY_DYNAMIC_DISPATCH(LshPackRotations)(args, h, packed_.data<float>() + h * panels_);
  });
}

void LshTokenHash::Hash(idx_t h, const float* x, float* scratch, std::uint16_t* buckets) const {
  const LshHashArguments args = OneToken(spec_, rotations_.view<4>(), x, buckets);
  HWY_DYNAMIC_DISPATCH(LshHashTask)
  (args, packed_.data<float>() + h * panels_, 0, 0, 0, 1, scratch, stride_);
}

}  // namespace longspan
#endif  // HWY_ONCE
