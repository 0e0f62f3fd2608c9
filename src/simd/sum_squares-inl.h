// The sum of squares of floats, in double.

// Included once for every target.
#if defined(LONGSPAN_SUM_SQUARES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SUM_SQUARES_INL_H_
#undef LONGSPAN_SUM_SQUARES_INL_H_
#else
#define LONGSPAN_SUM_SQUARES_INL_H_
#endif

#include <hwy/highway.h>

#include "longspan/types.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Over lanes of fixed place: the same bits wherever the block runs. Not finite when an element is
// not, and finite otherwise. Every `count` is legal.
HWY_INLINE double SumOfSquares(const float* HWY_RESTRICT x, idx_t count) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> half;  // as many floats as d has doubles
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  idx_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto x0 = hn::PromoteTo(d, hn::LoadU(half, x + i));
    const auto x1 = hn::PromoteTo(d, hn::LoadU(half, x + i + lanes));
    const auto x2 = hn::PromoteTo(d, hn::LoadU(half, x + i + 2 * lanes));
    const auto x3 = hn::PromoteTo(d, hn::LoadU(half, x + i + 3 * lanes));
    sum0 = hn::MulAdd(x0, x0, sum0);
    sum1 = hn::MulAdd(x1, x1, sum1);
    sum2 = hn::MulAdd(x2, x2, sum2);
    sum3 = hn::MulAdd(x3, x3, sum3);
  }
  const auto sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  double total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SUM_SQUARES_INL_H_
