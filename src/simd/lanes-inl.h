// Element-wise passes over a run of floats.

// Included once for every target.
#if defined(LONGSPAN_SIMD_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_SIMD_LANES_INL_H_
#undef LONGSPAN_SIMD_LANES_INL_H_
#else
#define LONGSPAN_SIMD_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include "longspan/types.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Calls body(tag, i) over [0, count): whole vectors, then single elements. Write `body` with
// HWY_ATTR.
template <class Body>
HWY_INLINE void ForLanes(idx_t count, const Body& body) {
  const hn::CappedTag<float, 64> d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) body(d, i);
  for (; i < count; ++i) body(hn::CappedTag<float, 1>(), i);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_SIMD_LANES_INL_H_
