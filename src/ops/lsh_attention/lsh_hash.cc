#include "ops/lsh_attention/lsh_hash.h"

#include "base/arena.h"
#include "base/isa.h"
#include "base/math.h"
#include "ops/lsh_attention/lsh_checks.h"
#include "parallel/parallel_for.h"
#include "simd/tile_extents.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/lsh_attention/lsh_hash.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/lsh_attention/lsh_hash-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(LshPackRotations);
HWY_EXPORT(LshHashTask);

namespace {

constexpr idx_t kHashTokens = 512;  // of a task

template <class T>
void Hash(Context& context, const LshSpec& spec, const View<const T, 4>& qk, const KeyMask& mask,
          const LshRotations& rotations, const LshBuckets& buckets) {
  CheckLshInput(spec, qk, mask, true);
  const idx_t B = qk.extent[0], H = qk.extent[1], tokens = qk.extent[2], D = qk.extent[3];
  const idx_t R = spec.rounds, columns = spec.RotationColumns();
  CheckLshCall(rotations, "rotations", {H, D, R, columns});
  Check(rotations.stride[2] == columns, ErrorCode::kUsage,
        "LSH attention: the rounds of rotations lie {} apart, expected {}", rotations.stride[2],
        columns);
  CheckLshCall(buckets, "buckets", {B, H, R, tokens});

  LshHashArguments args;
  args.qk = qk;
  args.mask = mask;
  args.rotations = rotations;
  args.buckets = buckets;
  args.factors = spec.buckets.data();
  args.factor_count = static_cast<idx_t>(spec.buckets.size());
  args.columns = columns;
  args.hidden_bucket = spec.BucketCount();

  const idx_t packed_size = RoundUp(R * columns, kMostTileRows) * D;
  const idx_t room_size = RoundUp(LshHashRoom(D, R * columns), 16);
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(H * packed_size) +
                                          Arena::Bytes<float>(context.threads() * room_size));
  float* packed = frame.Take<float>(H * packed_size);
  float* room = frame.Take<float>(context.threads() * room_size);
  ParallelFor(context, H, [&](idx_t h, int) {
    HWY_DYNAMIC_DISPATCH(LshPackRotations)(args, h, packed + h * packed_size);
  });
  const idx_t blocks = CeilDiv(tokens, kHashTokens);
  ParallelFor(context, B * H * blocks, [&](idx_t task, int thread) {
    const idx_t h = task / blocks % H, begin = task % blocks * kHashTokens;
    HWY_DYNAMIC_DISPATCH(LshHashTask)
    (args, packed + h * packed_size, task / blocks / H, h, begin,
     std::min(tokens, begin + kHashTokens), room + thread * room_size);
  });
}

}  // namespace

void LshHash(Context& context, const LshSpec& spec, const View<const float, 4>& qk,
             const KeyMask& mask, const LshRotations& rotations, const LshBuckets& buckets) {
  Hash(context, spec, qk, mask, rotations, buckets);
}

void LshHash(Context& context, const LshSpec& spec, const View<const bfloat16, 4>& qk,
             const KeyMask& mask, const LshRotations& rotations, const LshBuckets& buckets) {
  Hash(context, spec, qk, mask, rotations, buckets);
}

}  // namespace longspan
#endif  // HWY_ONCE
