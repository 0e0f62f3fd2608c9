#include "gemm/rows.h"

#include <algorithm>
#include <cstring>

#include "base/bfloat16.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gemm/rows.cc"
#include <hwy/foreach_target.h>
// Must come after foreach_target.h.
#include "gemm/rows-inl.h"

#if HWY_ONCE
namespace longspan::gemm {

HWY_EXPORT(WidenRows);
HWY_EXPORT(AddBiasRows);
HWY_EXPORT(StoreTileBf16);
HWY_EXPORT(StoreTileF32);
HWY_EXPORT(SumColumnsF32);
HWY_EXPORT(SumColumnsBf16);

void CopyRows(const void* from, DType dtype, idx_t rows, idx_t cols, idx_t from_stride, float* to,
              idx_t to_stride) {
  if (dtype == DType::kF32) {
    const auto* source = static_cast<const float*>(from);
    const auto bytes = static_cast<std::size_t>(cols) * sizeof(float);
    for (idx_t r = 0; r < rows; ++r) {
      std::memcpy(to + r * to_stride, source + r * from_stride, bytes);
    }
    return;
  }
  HWY_DYNAMIC_DISPATCH(WidenRows)
  (static_cast<const bfloat16*>(from), rows, cols, from_stride, to, to_stride);
}

void AddBias(const float* bias, idx_t rows, idx_t cols, float* y, idx_t stride) {
  HWY_DYNAMIC_DISPATCH(AddBiasRows)(bias, rows, cols, y, stride);
}

void NarrowRows(const float* tile, idx_t tile_stride, const float* bias, bool accumulate,
                idx_t rows, idx_t cols, bfloat16* y, idx_t stride) {
  StoreRows(tile, tile_stride, bias, accumulate, rows, cols, y, DType::kBF16, stride);
}

void StoreRows(const float* tile, idx_t tile_stride, const float* bias, bool accumulate, idx_t rows,
               idx_t cols, void* y, DType dtype, idx_t stride) {
  if (dtype == DType::kF32) {
    HWY_DYNAMIC_DISPATCH(StoreTileF32)
    (tile, tile_stride, bias, accumulate, rows, cols, static_cast<float*>(y), stride);
  } else {
    HWY_DYNAMIC_DISPATCH(StoreTileBf16)
    (tile, tile_stride, bias, accumulate, rows, cols, static_cast<bfloat16*>(y), stride);
  }
}

void SumColumns(const void* dy, DType dtype, idx_t rows, idx_t cols, idx_t stride, float* sums) {
  if (dtype == DType::kF32) {
    HWY_DYNAMIC_DISPATCH(SumColumnsF32)(static_cast<const float*>(dy), rows, cols, stride, sums);
  } else {
    HWY_DYNAMIC_DISPATCH(SumColumnsBf16)
    (static_cast<const bfloat16*>(dy), rows, cols, stride, sums);
  }
}

void AddTo(const float* x, idx_t count, float* y) {
  HWY_DYNAMIC_DISPATCH(AddBiasRows)(x, 1, count, y, count);
}

}  // namespace longspan::gemm
#endif  // HWY_ONCE
