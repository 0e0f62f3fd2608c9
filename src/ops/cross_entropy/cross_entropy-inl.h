// Softmax cross-entropy of a block of rows of logits, and its gradient in their place.

// Included once for every target.
#if defined(LONGSPAN_CROSS_ENTROPY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_CROSS_ENTROPY_INL_H_
#undef LONGSPAN_CROSS_ENTROPY_INL_H_
#else
#define LONGSPAN_CROSS_ENTROPY_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "longspan/types.h"
#include "simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Largest of row[0 .. count), count >= 1.
HWY_INLINE float LogitMax(const float* HWY_RESTRICT row, idx_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  float largest = row[0];
  idx_t i = 0;
  if (count >= lanes) {
    auto max0 = hn::LoadU(d, row), max1 = max0;
    for (; i + 2 * lanes <= count; i += 2 * lanes) {
      max0 = hn::Max(max0, hn::LoadU(d, row + i));
      max1 = hn::Max(max1, hn::LoadU(d, row + i + lanes));
    }
    largest = hn::GetLane(hn::MaxOfLanes(d, hn::Max(max0, max1)));
  }
  for (; i < count; ++i) largest = std::max(largest, row[i]);
  return largest;
}

// Whether `value` is in row[0 .. count).
HWY_INLINE bool LogitContains(const float* HWY_RESTRICT row, idx_t count, float value) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  const auto wanted = hn::Set(d, value);
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    if (!hn::AllFalse(d, hn::Eq(hn::LoadU(d, row + i), wanted))) return true;
  }
  return std::find(row + i, row + count, value) != row + count;
}

// Returns the sum of e^(row - largest). With kStore the exponentials replace the row. Two levels of
// sums: the rounding grows with 64 + count / 512 additions, not with count.
template <bool kStore>
HWY_INLINE float LogitExpSum(float* HWY_RESTRICT row, idx_t count, float largest) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  const auto offset = hn::Set(d, largest);
  auto total = hn::Zero(d);
  idx_t i = 0;
  while (i + lanes <= count) {
    const idx_t end = std::min(i + 64 * lanes, count);
    auto sum = hn::Zero(d);
    for (; i + lanes <= end; i += lanes) {
      const auto e = ExpNonPositive(d, hn::Sub(hn::LoadU(d, row + i), offset));
      if constexpr (kStore) hn::StoreU(e, d, row + i);
      sum = hn::Add(sum, e);
    }
    total = hn::Add(total, sum);
  }
  float rest = 0.0f;
  for (; i < count; ++i) {
    const auto e = ExpNonPositive(one, hn::Sub(hn::LoadU(one, row + i), hn::Set(one, largest)));
    if constexpr (kStore) hn::StoreU(e, one, row + i);
    rest += hn::GetLane(e);
  }
  return hn::GetLane(hn::SumOfLanes(d, total)) + rest;
}

HWY_INLINE void LogitScale(float* HWY_RESTRICT row, idx_t count, float factor) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  const auto f = hn::Set(d, factor);
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, row + i), f), d, row + i);
  for (; i < count; ++i) row[i] *= factor;
}

// What one row yields.
// loss = largest + log(sum) - logit of the label. The difference of the two large numbers comes
// first, so that logits of 1e4 lose nothing. A NaN anywhere in the row makes the loss NaN.
// correct: the label is the first of the largest logits.
template <bool kStore>
HWY_INLINE float LogitRowLoss(float* HWY_RESTRICT row, idx_t vocabulary, std::int32_t label,
                              double* HWY_RESTRICT loss, std::uint8_t* HWY_RESTRICT correct) {
  const float largest = LogitMax(row, vocabulary);
  const float chosen = row[label];
  *correct = chosen == largest && !LogitContains(row, label, largest) ? 1 : 0;
  const float sum = LogitExpSum<kStore>(row, vocabulary, largest);
  *loss = (static_cast<double>(largest) - static_cast<double>(chosen)) +
          std::log(static_cast<double>(sum));
  return sum;
}

// Forward: losses and hits of `rows` rows of logits. Two passes over each row, the second from
// cache. `weights`: of the labels, or null.
void CrossEntropyRows(float* HWY_RESTRICT logits, idx_t stride, idx_t rows, idx_t vocabulary,
                      const std::int32_t* HWY_RESTRICT labels, const float* HWY_RESTRICT weights,
                      double* HWY_RESTRICT losses, std::uint8_t* HWY_RESTRICT correct) {
  for (idx_t r = 0; r < rows; ++r) {
    LogitRowLoss<false>(logits + r * stride, vocabulary, labels[r], losses + r, correct + r);
    if (weights != nullptr) losses[r] *= static_cast<double>(weights[labels[r]]);
  }
}

// Forward and backward: loss = weight * (logsumexp(logits) - logits[label]), so
// dlogits = scale * weight * (softmax(logits) - onehot(label)), written over the logits.
void CrossEntropyRowsGradient(float* HWY_RESTRICT logits, idx_t stride, idx_t rows,
                              idx_t vocabulary, const std::int32_t* HWY_RESTRICT labels,
                              const float* HWY_RESTRICT weights, double* HWY_RESTRICT losses,
                              std::uint8_t* HWY_RESTRICT correct, float scale) {
  for (idx_t r = 0; r < rows; ++r) {
    float* HWY_RESTRICT row = logits + r * stride;
    const float sum = LogitRowLoss<true>(row, vocabulary, labels[r], losses + r, correct + r);
    float own = scale;
    if (weights != nullptr) {
      losses[r] *= static_cast<double>(weights[labels[r]]);
      own *= weights[labels[r]];
    }
    LogitScale(row, vocabulary, own / sum);
    row[labels[r]] -= own;
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_CROSS_ENTROPY_INL_H_
