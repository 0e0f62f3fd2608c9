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
#include "simd/sum_squares-inl.h"

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

double SquaredBlock(const float* HWY_RESTRICT x, idx_t count) { return SumOfSquares(x, count); }

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_ADAMW_INL_H_
