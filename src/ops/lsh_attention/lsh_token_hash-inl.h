// Vector code of lsh_token_hash.h: columns of the rotations lie in the lanes, where LshHash, which
// has many tokens, puts tokens. Each projection is the same chain of multiply-adds: the same bits.
#if defined(LONGSPAN_OPS_LSH_TOKEN_HASH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_LSH_TOKEN_HASH_INL_H_
#undef LONGSPAN_OPS_LSH_TOKEN_HASH_INL_H_
#else
#define LONGSPAN_OPS_LSH_TOKEN_HASH_INL_H_
#endif

#include <hwy/highway.h>

#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr int kProjectionVectors = 4;

// out (stride) = x (size) times rotations (size, stride), stride a multiple of kTileLanes.
inline void ProjectToken(const float* x, idx_t size, const float* rotations, idx_t stride,
                         float* out) {
  const TileTag d;
  constexpr idx_t kColumns = kProjectionVectors * kTileLanes;
  idx_t j = 0;
  for (; j + kColumns <= stride; j += kColumns) {
    hn::Vec<TileTag> sum[kProjectionVectors];
    LONGSPAN_UNROLL
    for (int v = 0; v < kProjectionVectors; ++v) sum[v] = hn::Zero(d);
    for (idx_t k = 0; k < size; ++k) {
      const auto factor = hn::Set(d, x[k]);
      const float* row = rotations + k * stride + j;
      LONGSPAN_UNROLL
      for (int v = 0; v < kProjectionVectors; ++v) {
        sum[v] = hn::MulAdd(hn::Load(d, row + v * kTileLanes), factor, sum[v]);
      }
    }
    LONGSPAN_UNROLL
    for (int v = 0; v < kProjectionVectors; ++v) hn::Store(sum[v], d, out + j + v * kTileLanes);
  }
  for (; j < stride; j += kTileLanes) {
    auto sum = hn::Zero(d);
    for (idx_t k = 0; k < size; ++k) {
      sum = hn::MulAdd(hn::Load(d, rotations + k * stride + j), hn::Set(d, x[k]), sum);
    }
    hn::Store(sum, d, out + j);
  }
}

// The first i < n with p[i] == value, or n.
HWY_INLINE idx_t PlaceOf(const float* p, idx_t n, float value) {
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
inline idx_t NearestDirection(const float* p, idx_t n) {
  const TileTag d;
  auto most = hn::Zero(d);
  for (idx_t i = 0; i < n; i += kTileLanes) most = hn::Max(most, hn::Abs(LoadTail(p + i, n - i)));
  const float max = hn::GetLane(hn::MaxOfLanes(d, most));
  const idx_t plus = PlaceOf(p, n, max);
  if (plus < n) return plus;
  const idx_t minus = PlaceOf(p, n, -max);
  return minus < n ? n + minus : 0;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LSH_TOKEN_HASH_INL_H_
