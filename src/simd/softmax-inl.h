// A softmax row that fits the cache, in place: mask, maximum, exponentials and their sum.
// Rows are handled in whole vectors: n is a multiple of kTileLanes, and entries that fill a row up
// are hidden (-inf), which makes their weight exactly 0.

// Included once for every target.
#if defined(LONGSPAN_SIMD_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_SOFTMAX_INL_H_
#undef LONGSPAN_SIMD_SOFTMAX_INL_H_
#else
#define LONGSPAN_SIMD_SOFTMAX_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <limits>
#include <type_traits>

#include "simd/math-inl.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr float kHiddenScore = -std::numeric_limits<float>::infinity();

// Scores that are no larger, in size, need no maximum: weights relative to 0, the sum of any number
// of them and its logarithm stay far from the ends of the range, and are as exact.
inline constexpr float kSafeScore = 30.0f;

// row[begin .. end) = value; end is a multiple of kTileLanes, begin is not.
HWY_INLINE void FillRow(float* row, idx_t begin, idx_t end, float value) {
  if (begin >= end) return;
  const TileTag d;
  const auto v = hn::Set(d, value);
  const idx_t aligned = begin / kTileLanes * kTileLanes;
  const auto keep = hn::FirstN(d, static_cast<std::size_t>(begin - aligned));
  hn::StoreU(hn::IfThenElse(keep, hn::LoadU(d, row + aligned), v), d, row + aligned);
  for (idx_t i = aligned + kTileLanes; i < end; i += kTileLanes) hn::StoreU(v, d, row + i);
}

// row[i] = -inf where visible[i] == 0, whatever row[i] was (the mask replaces, it does not add).
HWY_INLINE void HideRow(float* HWY_RESTRICT row, const float* HWY_RESTRICT visible, idx_t n) {
  const TileTag d;
  const auto hidden = hn::Set(d, kHiddenScore);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    const auto hide = hn::Eq(hn::LoadU(d, visible + i), hn::Zero(d));
    hn::StoreU(hn::IfThenElse(hide, hidden, hn::LoadU(d, row + i)), d, row + i);
  }
}

// The unit that products leave scores in; offsets and sums have none.
struct NaturalScores {
  static constexpr float kUnit = 1.0f, kPerUnit = 1.0f;
  static constexpr bool kSmallIsCheaper = false;
  // e^x for x in units, at most kSafeScore, and for x of at most 87 in size.
  template <class D, class V>
  static HWY_INLINE V Exp(D d, V x) {
    return ExpWeight(d, x);
  }
  template <class D, class V>
  static HWY_INLINE V ExpSmall(D d, V x) {
    return ExpWeight(d, x);
  }
  // exp(score - offset)
  template <class D, class V>
  static HWY_INLINE V Weight(D d, V score, V offset) {
    return ExpWeight(d, hn::Sub(score, offset));
  }
};

// In units of ln 2, by a factor of log2 e in the queries, weights are powers of 2, which cost less.
// An offset of hundreds must not be rounded to that unit: without fused multiply-adds it would be.
#if HWY_NATIVE_FMA
struct FloatScores {
  static constexpr float kUnit = 0.693147181f, kPerUnit = 1.44269504f;
  static constexpr bool kSmallIsCheaper = true;
  template <class D, class V>
  static HWY_INLINE V Exp(D d, V x) {
    return Exp2Weight(d, x);
  }
  template <class D, class V>
  static HWY_INLINE V ExpSmall(D d, V x) {
    return Exp2Small(d, x);
  }
  template <class D, class V>
  static HWY_INLINE V Weight(D d, V score, V offset) {
    return Exp2Weight(d, hn::NegMulAdd(hn::Set(d, kPerUnit), offset, score));
  }
};
#else
using FloatScores = NaturalScores;
#endif

// Queries (or keys) carry the unit; rounded to bf16 they would lose by it.
template <class Terms>
using ScoresOf = std::conditional_t<Terms::kWidth == 1, FloatScores, NaturalScores>;

// Whether no score is larger than kSafeScore, since |q . k| <= |q| |k|: from bounds of the squared
// norms, queries with their unit.
template <class Scores>
HWY_INLINE bool NormsAreSmall(float queries, float keys) {
  constexpr float kSafe = kSafeScore * Scores::kPerUnit;
  return queries * keys <= kSafe * kSafe;
}

// Weights that were relative to `max` are relative to `rise` from now on, and so are their sum and
// what was summed with them in output (n).
HWY_INLINE void MoveOffset(float rise, float* max, float* sum, float* output, idx_t n) {
  if (rise == *max) return;
  if (*sum > 0.0f) {
    const float factor = std::exp(*max - rise);
    *sum *= factor;
    RescaleRow(output, n, factor);
  }
  *max = rise;
}

// -inf for an empty row.
HWY_INLINE float MaxRow(const float* row, idx_t n) {
  const TileTag d;
  auto even = hn::Set(d, kHiddenScore), odd = even;
  idx_t i = 0;
  for (; i + 2 * kTileLanes <= n; i += 2 * kTileLanes) {
    even = hn::Max(even, hn::LoadU(d, row + i));
    odd = hn::Max(odd, hn::LoadU(d, row + i + kTileLanes));
  }
  for (; i < n; i += kTileLanes) even = hn::Max(even, hn::LoadU(d, row + i));
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(even, odd)));
}

// What the weights of a row of scores are made relative to: 0 if scores are small, else the
// largest; -inf if all are hidden. `shows`: it is known that one is not.
template <class Scores>
HWY_INLINE float RowOffset(const float* row, idx_t n, bool small, bool shows) {
  if (small && shows) return 0.0f;
  const float most = MaxRow(row, n);
  if (most == kHiddenScore) return most;
  return small ? 0.0f : Scores::kUnit * most;
}

// row = weight(row) in whole vectors; returns the sum.
template <class Weight>
HWY_INLINE float WeighEntries(float* row, idx_t n, const Weight& weight) {
  const TileTag d;
  auto even = hn::Zero(d), odd = even;
  idx_t i = 0;
  for (; i + 2 * kTileLanes <= n; i += 2 * kTileLanes) {
    const auto w0 = weight(hn::LoadU(d, row + i)), w1 = weight(hn::LoadU(d, row + i + kTileLanes));
    hn::StoreU(w0, d, row + i);
    hn::StoreU(w1, d, row + i + kTileLanes);
    even = hn::Add(even, w0);
    odd = hn::Add(odd, w1);
  }
  for (; i < n; i += kTileLanes) {
    const auto w = weight(hn::LoadU(d, row + i));
    hn::StoreU(w, d, row + i);
    even = hn::Add(even, w);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}

// row = exp(row - offset), offset without a unit; returns the sum. No entry may exceed offset by
// more than kSafeScore.
template <class Scores = NaturalScores>
HWY_INLINE float ExpRow(float* row, idx_t n, float offset) {
  const TileTag d;
  const auto shift = hn::Set(d, offset);
  return WeighEntries(row, n,
                      [&](hn::Vec<TileTag> s) HWY_ATTR { return Scores::Weight(d, s, shift); });
}

// row = exp(row), no entry larger in size than kSafeScore; returns the sum.
template <class Scores>
HWY_INLINE float ExpSmallRow(float* row, idx_t n) {
  const TileTag d;
  return WeighEntries(row, n, [&](hn::Vec<TileTag> s) HWY_ATTR { return Scores::ExpSmall(d, s); });
}

// The softmax's backward on one row, after score = log-weight input of ExpRow:
//   p = exp(score - lse), score := p, dp := p (dp - delta) scale
// delta = sum of p dp over the row = out . dout.
template <class Scores = NaturalScores>
HWY_INLINE void SoftmaxBackwardRow(float* HWY_RESTRICT score, float* HWY_RESTRICT dp, idx_t n,
                                   float lse, float delta, float scale) {
  const TileTag d;
  const auto shift = hn::Set(d, lse), vdelta = hn::Set(d, delta), vscale = hn::Set(d, scale);
  for (idx_t i = 0; i < n; i += kTileLanes) {
    const auto p = Scores::Weight(d, hn::LoadU(d, score + i), shift);
    const auto centred = hn::Sub(hn::LoadU(d, dp + i), vdelta);
    hn::StoreU(p, d, score + i);
    hn::StoreU(hn::Mul(hn::Mul(p, vscale), centred), d, dp + i);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_SOFTMAX_INL_H_
