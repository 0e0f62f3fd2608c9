// Element-wise dropout of a run of consecutive elements of a site, and the residual forms.

// Included once for every target.
#if defined(LONGSPAN_OPS_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_DROPOUT_INL_H_
#undef LONGSPAN_OPS_DROPOUT_INL_H_
#else
#define LONGSPAN_OPS_DROPOUT_INL_H_
#endif

#include <hwy/highway.h>

#include "ops/dropout/dropout.h"
#include "simd/lanes-inl.h"
#include "simd/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x[i] *= factor of element first + i, i in [0, count).
void DropoutRun(const Dropout& dropout, idx_t first, idx_t count, float* HWY_RESTRICT x) {
  ForDropoutFactors(dropout, first, count,
                    [=](idx_t offset, idx_t n, const float* HWY_RESTRICT factors) HWY_ATTR {
                      float* HWY_RESTRICT part = x + offset;
                      ForLanes(n, [=](auto d, idx_t i) HWY_ATTR {
                        hn::StoreU(hn::Mul(hn::LoadU(d, part + i), hn::LoadU(d, factors + i)), d,
                                   part + i);
                      });
                    });
}

// y[i] += sign x[i] factor of element first + i; sign is 1 or -1. The product is rounded before it
// is added: what SubtractDropout takes away is the number that AddDropout added.
void AddDropoutRun(const Dropout& dropout, idx_t first, idx_t count, float sign,
                   const float* HWY_RESTRICT x, float* HWY_RESTRICT y) {
  if (!dropout.active()) {
    ForLanes(count, [=](auto d, idx_t i) HWY_ATTR {
      const auto signed_x = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, sign));
      hn::StoreU(hn::Add(hn::LoadU(d, y + i), signed_x), d, y + i);
    });
    return;
  }
  ForDropoutFactors(dropout, first, count,
                    [=](idx_t offset, idx_t n, const float* HWY_RESTRICT factors) HWY_ATTR {
                      const float* HWY_RESTRICT from = x + offset;
                      float* HWY_RESTRICT to = y + offset;
                      ForLanes(n, [=](auto d, idx_t i) HWY_ATTR {
                        const auto product =
                            hn::Mul(hn::LoadU(d, from + i), hn::LoadU(d, factors + i));
                        const auto signed_product = hn::Mul(product, hn::Set(d, sign));  // exact
                        hn::StoreU(hn::Add(hn::LoadU(d, to + i), signed_product), d, to + i);
                      });
                    });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_DROPOUT_INL_H_
