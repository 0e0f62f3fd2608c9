// SGD on one block of parameters: one pass, bounded by memory. Tails run in a vector of one lane,
// by the same operations.

// Included once for every target.
#if defined(LONGSPAN_SGD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SGD_INL_H_
#undef LONGSPAN_SGD_INL_H_
#else
#define LONGSPAN_SGD_INL_H_
#endif

#include <hwy/highway.h>

#include "ops/sgd/sgd.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One vector; `m` is null without momentum.
template <class D>
HWY_INLINE void SgdLanes(D d, const SgdSpec& spec, float* HWY_RESTRICT w, float* HWY_RESTRICT g,
                         float* HWY_RESTRICT m) {
  const auto weights = hn::LoadU(d, w);
  const auto decayed = hn::Mul(hn::Set(d, spec.weight_decay), weights);
  auto step = hn::MulAdd(hn::LoadU(d, g), hn::Set(d, spec.gradient_scale), decayed);
  if (m != nullptr) {
    const auto momentum = hn::Set(d, spec.momentum);
    const auto kept = hn::MulAdd(momentum, hn::LoadU(d, m), step);
    hn::StoreU(kept, d, m);
    step = spec.nesterov ? hn::MulAdd(momentum, kept, step) : kept;
  }
  hn::StoreU(hn::NegMulAdd(hn::Set(d, spec.learning_rate), step, weights), d, w);
  hn::StoreU(hn::Zero(d), d, g);
}

void SgdBlock(const SgdSpec& spec, idx_t count, float* HWY_RESTRICT w, float* HWY_RESTRICT g,
              float* HWY_RESTRICT m) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 1> one;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  const auto at = [m](idx_t i) { return m == nullptr ? nullptr : m + i; };
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) SgdLanes(d, spec, w + i, g + i, at(i));
  for (; i < count; ++i) SgdLanes(one, spec, w + i, g + i, at(i));
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SGD_INL_H_
