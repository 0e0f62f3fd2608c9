#include "ops/cached_attention/cached_attention.h"

#include "base/math.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cached_attention/cached_attention.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "ops/cached_attention/cached_attention-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(AttendCells);
HWY_EXPORT(KeyOf);

namespace {

constexpr idx_t kWidestVector = 16;  // floats, on any target

}  // namespace

idx_t CachedWeights(idx_t count) { return RoundUp(count, kWidestVector); }

void AttendCached(const CachedQuery& q) { HWY_DYNAMIC_DISPATCH(AttendCells)(q); }

void SharedKey(const float* x, idx_t size, float* key) {
  HWY_DYNAMIC_DISPATCH(KeyOf)(x, size, key);
}

}  // namespace longspan
#endif  // HWY_ONCE
