// Axial position vectors: rows of the grid forward, rows and columns of the grid backward.

// Included once for every target.
#if defined(LONGSPAN_AXIAL_POSITION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_AXIAL_POSITION_INL_H_
#undef LONGSPAN_AXIAL_POSITION_INL_H_
#else
#define LONGSPAN_AXIAL_POSITION_INL_H_
#endif

#include <hwy/highway.h>

#include "base/rng.h"
#include "longspan/types.h"
#include "simd/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y += factor * x
HWY_INLINE void AxialAddScaled(float factor, const float* HWY_RESTRICT x, float* HWY_RESTRICT y,
                               idx_t count) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  const auto f = hn::Set(d, factor);
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::MulAdd(f, hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, y + i);
  }
  const hn::CappedTag<float, 1> one;  // the rest, rounded as in a whole vector
  for (; i < count; ++i) {
    const auto sum = hn::MulAdd(hn::Set(one, factor), hn::LoadU(one, x + i), hn::LoadU(one, y + i));
    hn::StoreU(sum, one, y + i);
  }
}

// Calls use(j, factor) for columns [column, column + count) of the grid; `element` is the site's
// element of the first one. A dropped column's factor is 0: skip it, its vector is not there.
template <class Use>
HWY_INLINE void AxialForColumns(const Dropout& columns, idx_t element, idx_t count,
                                const Use& use) {
  if (!columns.active()) {
    for (idx_t j = 0; j < count; ++j) use(j, 1.0f);
    return;
  }
  const auto piece = [&](idx_t offset, idx_t n, const float* factors) HWY_ATTR {
    for (idx_t j = 0; j < n; ++j) {
      if (factors[j] != 0.0f) use(offset + j, factors[j]);
    }
  };
  ForDropoutFactors(columns, element, count, piece);
}

// Forward, a run of `count` consecutive tokens in one row of the grid:
// x[j] += factor(element + j) * (t0 ++ t1[j]).
void AxialAddRun(const Dropout& columns, idx_t element, idx_t count, const float* HWY_RESTRICT t0,
                 idx_t d0,                                                 // (D0): the row's vector
                 const float* HWY_RESTRICT t1, idx_t t1_stride, idx_t d1,  // (count, D1)
                 float* HWY_RESTRICT x, idx_t x_stride) {                  // (count, D0 + D1)
  AxialForColumns(columns, element, count, [=](idx_t j, float factor) HWY_ATTR {
    AxialAddScaled(factor, t0, x + j * x_stride, d0);
    AxialAddScaled(factor, t1 + j * t1_stride, x + j * x_stride + d0, d1);
  });
}

// Backward of x[j] += factor * t0: dt0 += sum over j of factor(element + j) * dx[j]. dt0 is one
// row and stays in the first cache.
void AxialRowGradient(const Dropout& columns, idx_t element, idx_t count,
                      const float* HWY_RESTRICT dx, idx_t dx_stride,  // (count, D0)
                      float* HWY_RESTRICT dt0, idx_t d0) {
  AxialForColumns(columns, element, count, [=](idx_t j, float factor) HWY_ATTR {
    AxialAddScaled(factor, dx + j * dx_stride, dt0, d0);
  });
}

// Backward of x[j] += factor * t1[j]: dt1[j] += factor(element + j) * dx[j].
void AxialColumnGradient(const Dropout& columns, idx_t element, idx_t count,
                         const float* HWY_RESTRICT dx, idx_t dx_stride,  // (count, D1)
                         float* HWY_RESTRICT dt1, idx_t dt1_stride, idx_t d1) {
  AxialForColumns(columns, element, count, [=](idx_t j, float factor) HWY_ATTR {
    AxialAddScaled(factor, dx + j * dx_stride, dt1 + j * dt1_stride, d1);
  });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_AXIAL_POSITION_INL_H_
