// One vector or one element of fp32 or bf16, as fp32; and what is fetched ahead.
#if defined(LONGSPAN_GEMM_LOAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_GEMM_LOAD_INL_H_
#undef LONGSPAN_GEMM_LOAD_INL_H_
#else
#define LONGSPAN_GEMM_LOAD_INL_H_
#endif

#include <hwy/highway.h>

#include "base/bfloat16.h"

HWY_BEFORE_NAMESPACE();
namespace longspan::gemm {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using U32 = hn::RebindToUnsigned<F32>;
using I32 = hn::RebindToSigned<F32>;
using U16 = hn::Rebind<std::uint16_t, F32>;

HWY_INLINE hn::Vec<F32> LoadRow(F32 d, const float* from) { return hn::LoadU(d, from); }

HWY_INLINE hn::Vec<F32> LoadRow(F32 d, const bfloat16* from) {
  const U16 d16;
  const U32 d32;
  const auto bits = hn::LoadU(d16, &from->bits);
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
}

// To the second cache; Highway's Prefetch knows the first only.
HWY_INLINE void PrefetchFar(const void* from) { __builtin_prefetch(from, 0, 2); }

HWY_INLINE float LoadOne(const float* from) { return *from; }
HWY_INLINE float LoadOne(const bfloat16* from) { return ToFloat(*from); }

}  // namespace HWY_NAMESPACE
}  // namespace longspan::gemm
HWY_AFTER_NAMESPACE();

#endif
