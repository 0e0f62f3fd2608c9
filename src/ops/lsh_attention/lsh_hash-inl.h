// Hashing by random rotations, a panel of tokens at a time: projections (columns, tokens) as
// register tiles, their argmax lane by lane while they are in the cache; they are never stored.
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
#include <cstdint>
#include <limits>

#include "base/math.h"
#include "ops/lsh_attention/lsh_hash.h"
#include "simd/bf16-inl.h"
#include "simd/row_prefetcher.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Per lane the argmax of p ++ -p for columns p[0 .. n) that lie kPanel floats apart, the lowest
// index among equals; 0 when all are NaN.
HWY_INLINE hn::Vec<hn::RebindToSigned<TileTag>> ArgMaxBothSigns(const float* p, idx_t n) {
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  auto most = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto least = hn::Set(d, std::numeric_limits<float>::infinity());
  auto at_most = hn::Zero(di), at_least = hn::Zero(di);
  for (idx_t j = 0; j < n; ++j) {
    const auto x = hn::Load(d, p + j * kPanel);
    const auto index = hn::Set(di, static_cast<std::int32_t>(j));
    const auto above = hn::Gt(x, most), below = hn::Lt(x, least);
    most = hn::IfThenElse(above, x, most);
    least = hn::IfThenElse(below, x, least);
    at_most = hn::IfThenElse(hn::RebindMask(di, above), index, at_most);
    at_least = hn::IfThenElse(hn::RebindMask(di, below), index, at_least);
  }
  const auto plus = hn::RebindMask(di, hn::Ge(most, hn::Neg(least)));
  const auto half = hn::Set(di, static_cast<std::int32_t>(n));
  return hn::IfThenElse(plus, at_most, hn::Add(at_least, half));
}

// The buckets of a vector of tokens in one round; moves `projections` behind that round's.
HWY_INLINE hn::Vec<hn::RebindToSigned<TileTag>> RoundBuckets(const LshHashArguments& args,
                                                             const float** projections) {
  const hn::RebindToSigned<TileTag> di;
  auto bucket = hn::Zero(di);
  idx_t place = 1;
  for (idx_t f = 0; f < args.factor_count; ++f) {
    const idx_t half = args.factors[f] / 2;
    const auto part = ArgMaxBothSigns(*projections, half);
    bucket = hn::Add(bucket, hn::Mul(part, hn::Set(di, static_cast<std::int32_t>(place))));
    place *= args.factors[f];
    *projections += half * kPanel;
  }
  return bucket;
}

// bucket -> buckets of tokens [t, t + n) of a round, n at most a vector; hidden ones get their own.
inline void StoreBuckets(const LshHashArguments& args, hn::Vec<hn::RebindToSigned<TileTag>> bucket,
                         idx_t b, idx_t t, idx_t n, std::uint16_t* to) {
  const hn::RebindToSigned<TileTag> di;
  if (n == kTileLanes && args.mask.empty()) {
    const hn::Rebind<std::uint16_t, TileTag> narrow;
    return hn::StoreU(hn::DemoteTo(narrow, bucket), narrow, to);
  }
  alignas(64) std::int32_t lanes[kTileLanes];
  hn::Store(bucket, di, lanes);
  for (idx_t i = 0; i < n; ++i) {
    const bool hidden = !args.mask.empty() && args.mask(b, t + i) == 0;
    to[i] = static_cast<std::uint16_t>(hidden ? args.hidden_bucket : lanes[i]);
  }
}

// The buckets of tokens [t, t + n) in all rounds from their projections (R columns, kPanel).
inline void PanelBuckets(const LshHashArguments& args, const float* projections, idx_t b, idx_t h,
                         idx_t t, idx_t n) {
  for (idx_t v = 0; v < n; v += kTileLanes) {
    const float* p = projections + v;
    for (idx_t r = 0; r < args.buckets.extent[2]; ++r) {
      StoreBuckets(args, RoundBuckets(args, &p), b, t + v, std::min(kTileLanes, n - v),
                   &args.buckets(b, h, r, t + v));
    }
  }
}

// The rotations of head h, kTileRows columns side by side: (R columns / kTileRows, D, kTileRows).
inline void LshPackRotations(const LshHashArguments& args, idx_t h, float* packed) {
  const idx_t D = args.qk.extent[3], n = args.buckets.extent[2] * args.columns;
  for (idx_t first = 0; first < n; first += kTileRows, packed += D * kTileRows) {
    const idx_t m = std::min(kTileRows, n - first);
    for (idx_t k = 0; k < D; ++k) {
      const float* row = &args.rotations(h, k, 0, 0) + first;
      for (idx_t j = 0; j < kTileRows; ++j) packed[k * kTileRows + j] = j < m ? row[j] : 0.0f;
    }
  }
}

// Buckets of tokens [begin, end) of head (b, h). room: see LshHashRoom.
inline void LshHashTask(const LshHashArguments& args, const float* packed, idx_t b, idx_t h,
                        idx_t begin, idx_t end, float* room) {
  const idx_t D = args.qk.extent[3], n = args.buckets.extent[2] * args.columns;
  float* panel = room + kHashPanel * RoundUp(D, kTileLanes);
  float* projections = panel + kHashPanel * D;
  RowPrefetcher coming;
  for (idx_t t = begin; t < end; t += kPanel) {
    const idx_t tokens = std::min(kPanel, end - t);
    idx_t stride = 0;
    const float* x =
        RowsOf<F32Terms>(args.qk, b, h, t, tokens, 1.0f, RoundUp(D, kTileLanes), room, &stride);
    PackTransposedPanels(x, stride, tokens, D, Unchanged(), panel);
    coming.Clear();
    coming.Add(args.qk, b, h, t + kPanel, std::min(end, t + 2 * kPanel) - (t + kPanel));
    for (idx_t first = 0; first < n; first += kTileRows) {
      const TileTerm term{packed + first * D, panel, D};
      TileMultiply<true>(std::min(kTileRows, n - first), kPanel, &term, 1, kTileRows, false,
                         projections + first * kPanel, kPanel, coming);
    }
    PanelBuckets(args, projections, b, h, t, tokens);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LSH_HASH_INL_H_
