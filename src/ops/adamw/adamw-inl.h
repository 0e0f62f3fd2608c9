// AdamW on one block of parameters, and the sum of squares of one block.

// Included once for every target.
#if defined(LONGSPAN_ADAMW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_ADAMW_INL_H_
#undef LONGSPAN_ADAMW_INL_H_
#else
#define LONGSPAN_ADAMW_INL_H_
#endif

#include <hwy/highway.h>

#include "longspan/types.h"
#include "ops/adamw/adamw_factors.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One vector of the update.
template <class D>
HWY_INLINE void AdamWLanes(D d, const AdamWFactors& f, float* HWY_RESTRICT w, float* HWY_RESTRICT g,
                           float* HWY_RESTRICT m, float* HWY_RESTRICT v) {
  const auto gradient = hn::Mul(hn::LoadU(d, g), hn::Set(d, f.gradient_scale));
  // m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2
  const auto m1 = hn::MulAdd(hn::Set(d, f.beta1), hn::LoadU(d, m),
                             hn::Mul(hn::Set(d, f.one_minus_beta1), gradient));
  const auto v1 = hn::MulAdd(hn::Set(d, f.beta2), hn::LoadU(d, v),
                             hn::Mul(hn::Set(d, f.one_minus_beta2), hn::Mul(gradient, gradient)));
  // w = (1 - lr decay) w - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
  const auto root = hn::MulAdd(hn::Sqrt(v1), hn::Set(d, f.root_correction), hn::Set(d, f.eps));
  const auto update = hn::Div(hn::Mul(hn::Set(d, f.step_size), m1), root);
  const auto kept = hn::Mul(hn::Set(d, f.keep), hn::LoadU(d, w));
  hn::StoreU(hn::Sub(kept, update), d, w);
  hn::StoreU(m1, d, m);
  hn::StoreU(v1, d, v);
  hn::StoreU(hn::Zero(d), d, g);
}

void AdamWBlock(const AdamWFactors& factors, idx_t count, float* HWY_RESTRICT w,
                float* HWY_RESTRICT g, float* HWY_RESTRICT m, float* HWY_RESTRICT v) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) AdamWLanes(d, factors, w + i, g + i, m + i, v + i);
  for (; i < count; ++i) AdamWLanes(one, factors, w + i, g + i, m + i, v + i);
}

// Sum of squares in double, over lanes of fixed place: the same bits wherever the block runs.
double SquaredBlock(const float* HWY_RESTRICT x, idx_t count) {
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

#endif  // LONGSPAN_ADAMW_INL_H_
