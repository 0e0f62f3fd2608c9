// Hashing by random rotations: projections as register tiles, the argmax taken while they are in
// the cache; they are never stored.
//   2 D columns flop per token and round; x is read once for all rounds.

// Included once for every target.
#if defined(LONGSPAN_OPS_LSH_HASH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_LSH_HASH_INL_H_
#undef LONGSPAN_OPS_LSH_HASH_INL_H_
#else
#define LONGSPAN_OPS_LSH_HASH_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "ops/lsh_attention/lsh_hash.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The first i < n with p[i] == value, or n.
HWY_INLINE idx_t FindValue(const float* p, idx_t n, float value) {
  const TileTag d;
  const auto wanted = hn::Set(d, value);
  idx_t i = 0;
  for (; i + kTileLanes <= n; i += kTileLanes) {
    const auto found = hn::FindFirstTrue(d, hn::Eq(hn::LoadU(d, p + i), wanted));
    if (found >= 0) return i + static_cast<idx_t>(found);
  }
  while (i < n && p[i] != value) ++i;
  return i;
}

// argmax of p ++ -p, the lowest index among equals; 0 when p holds NaN only.
HWY_INLINE idx_t ArgMaxBothSigns(const float* p, idx_t n) {
  const TileTag d;
  auto most = hn::Zero(d);
  for (idx_t i = 0; i < n; i += kTileLanes) most = hn::Max(most, hn::Abs(LoadTail(p + i, n - i)));
  const float max = hn::GetLane(hn::MaxOfLanes(d, most));
  const idx_t plus = FindValue(p, n, max);
  if (plus < n) return plus;
  const idx_t minus = FindValue(p, n, -max);
  return minus < n ? n + minus : 0;
}

// The buckets of one token in all rounds from its projections (R, columns).
inline void TokenBuckets(const LshHashArguments& args, const float* projections, idx_t b, idx_t h,
                         idx_t t) {
  const bool hidden = !args.mask.empty() && args.mask(b, t) == 0;
  for (idx_t r = 0; r < args.buckets.extent[2]; ++r) {
    idx_t bucket = 0, place = 1;
    if (hidden) {
      bucket = args.hidden_bucket;
      projections += args.columns;
    } else {
      for (idx_t f = 0; f < args.factor_count; ++f) {
        const idx_t half = args.factors[f] / 2;
        bucket += place * ArgMaxBothSigns(projections, half);
        place *= args.factors[f];
        projections += half;
      }
    }
    args.buckets(b, h, r, t) = static_cast<std::uint16_t>(bucket);
  }
}

// The rotations of head h into panels: (D, R columns).
inline void LshPackRotations(const LshHashArguments& args, idx_t h, float* panels) {
  PackPanels(&args.rotations(h, 0, 0, 0), args.rotations.stride[1], args.qk.extent[3],
             args.buckets.extent[2] * args.columns, panels);
}

// Buckets of tokens [begin, end) of head (b, h). projections: kTileRows rows of `stride` floats.
inline void LshHashTask(const LshHashArguments& args, const float* panels, idx_t b, idx_t h,
                        idx_t begin, idx_t end, float* projections, idx_t stride) {
  const idx_t D = args.qk.extent[3], n = args.buckets.extent[2] * args.columns;
  for (idx_t t = begin; t < end; t += kTileRows) {
    const idx_t m = std::min(kTileRows, end - t);
    for (idx_t first = 0; first < n; first += kPanel) {
      const TileTerm term{&args.qk(b, h, t, 0), panels + first * D, D};
      TileMultiply<false>(m, std::min(kPanel, n - first), &term, 1, args.qk.stride[2], false,
                          projections + first, stride);
    }
    for (idx_t i = 0; i < m; ++i) TokenBuckets(args, projections + i * stride, b, h, t + i);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LSH_HASH_INL_H_
