// The passes of Adafactor over a row of a gradient (C numbers). Bounded by memory. Tails run in a
// vector of one lane; sums are taken in double over lanes of fixed place.

// Included once for every target.
#if defined(LONGSPAN_ADAFACTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_ADAFACTOR_INL_H_
#undef LONGSPAN_ADAFACTOR_INL_H_
#else
#define LONGSPAN_ADAFACTOR_INL_H_
#endif

#include <hwy/highway.h>

#include "ops/adafactor/adafactor_factors.h"
#include "simd/sum_squares-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Calls body(tag, i) for vectors of `D`, then for single numbers.
template <class D, class Body>
HWY_INLINE void ForLanes(D d, idx_t count, const Body& body) {
  const hn::CappedTag<hn::TFromD<D>, 1> one;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) body(d, i);
  for (; i < count; ++i) body(one, i);
}

double AdafactorSquares(const float* HWY_RESTRICT x, idx_t count) { return SumOfSquares(x, count); }

// Adds the squares of the scaled row to `columns` (C), and returns their sum.
double AdafactorRow(const AdafactorFactors& f, const float* HWY_RESTRICT g, idx_t count,
                    double* HWY_RESTRICT columns) {
  double sum = 0.0;
  const hn::ScalableTag<double> all;
  auto sums = hn::Zero(all);
  ForLanes(all, count, [&](auto d, idx_t i) HWY_ATTR {
    const hn::Rebind<float, decltype(d)> half;
    const auto scaled = hn::Mul(hn::LoadU(half, g + i), hn::Set(half, f.gradient_scale));
    const auto wide = hn::PromoteTo(d, scaled);
    const auto square = hn::Mul(wide, wide);
    hn::StoreU(hn::Add(hn::LoadU(d, columns + i), square), d, columns + i);
    if constexpr (std::is_same_v<decltype(d), std::remove_const_t<decltype(all)>>) {
      sums = hn::Add(sums, square);
    } else {
      sum += hn::GetLane(square);
    }
  });
  return sum + hn::GetLane(hn::SumOfLanes(all, sums));
}

// Second moments of a vector's block: v += share (g^2 - v).
void AdafactorEach(const AdafactorFactors& f, const float* HWY_RESTRICT g, idx_t count,
                   float* HWY_RESTRICT each) {
  ForLanes(hn::ScalableTag<float>(), count, [&](auto d, idx_t i) HWY_ATTR {
    const auto scaled = hn::Mul(hn::LoadU(d, g + i), hn::Set(d, f.gradient_scale));
    const auto v = hn::LoadU(d, each + i);
    const auto away = hn::MulSub(scaled, scaled, v);
    hn::StoreU(hn::MulAdd(hn::Set(d, f.share), away, v), d, each + i);
  });
}

// u = g / sqrt(max(ratio * moments, floor)) of one vector.
template <class D>
HWY_INLINE hn::Vec<D> AdafactorUpdate(D d, const AdafactorFactors& f, float ratio,
                                      const float* HWY_RESTRICT g,
                                      const float* HWY_RESTRICT moments) {
  const auto scaled = hn::Mul(hn::LoadU(d, g), hn::Set(d, f.gradient_scale));
  const auto estimate = hn::Mul(hn::Set(d, ratio), hn::LoadU(d, moments));
  return hn::Div(scaled, hn::Sqrt(hn::Max(estimate, hn::Set(d, f.floor))));
}

// The sum of squares of a row's updates.
double AdafactorUpdateSquares(const AdafactorFactors& f, float ratio, const float* HWY_RESTRICT g,
                              const float* HWY_RESTRICT moments, idx_t count) {
  constexpr idx_t kPiece = 256;
  HWY_ALIGN float updates[kPiece];
  double sum = 0.0;
  for (idx_t begin = 0; begin < count; begin += kPiece) {
    const idx_t size = HWY_MIN(kPiece, count - begin);
    ForLanes(hn::ScalableTag<float>(), size, [&](auto d, idx_t i) HWY_ATTR {
      const auto u = AdafactorUpdate(d, f, ratio, g + begin + i, moments + begin + i);
      hn::StoreU(u, d, updates + i);
    });
    sum += SumOfSquares(updates, size);
  }
  return sum;
}

// w = keep w - rate u, and the gradient becomes zero.
void AdafactorApply(const AdafactorFactors& f, float ratio, float* HWY_RESTRICT g,
                    const float* HWY_RESTRICT moments, idx_t count, float* HWY_RESTRICT w) {
  ForLanes(hn::ScalableTag<float>(), count, [&](auto d, idx_t i) HWY_ATTR {
    const auto u = AdafactorUpdate(d, f, ratio, g + i, moments + i);
    const auto kept = hn::Mul(hn::Set(d, f.keep), hn::LoadU(d, w + i));
    hn::StoreU(hn::NegMulAdd(hn::Set(d, f.rate), u, kept), d, w + i);
    hn::StoreU(hn::Zero(d), d, g + i);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_ADAFACTOR_INL_H_
