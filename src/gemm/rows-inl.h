// Vector code of rows.h: one row or one block of rows per call, tails element by element.
#if defined(LONGSPAN_GEMM_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_GEMM_ROWS_INL_H_
#undef LONGSPAN_GEMM_ROWS_INL_H_
#else
#define LONGSPAN_GEMM_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include "base/bfloat16.h"
#include "gemm/load-inl.h"
#include "longspan/types.h"

HWY_BEFORE_NAMESPACE();
namespace longspan::gemm {
namespace HWY_NAMESPACE {
// Round to nearest, ties to even; NaN stays NaN: the vector form of ToBfloat16.
HWY_INLINE void StoreRow(hn::Vec<F32> value, bfloat16* to) {
  const U32 d32;
  const I32 i32;
  const U16 d16;
  const auto bits = hn::BitCast(d32, value);
  const auto upper = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(upper, hn::Set(d32, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(d32, 0x7fffu)), odd));
  const auto quiet = hn::Or(upper, hn::Set(d32, 0x0040u));
  const auto is_number = hn::RebindMask(d32, hn::Eq(value, value));
  const auto result = hn::IfThenElse(is_number, rounded, quiet);
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(i32, result)), d16, &to->bits);
}

HWY_INLINE void WidenRow(const bfloat16* HWY_RESTRICT from, idx_t count, float* HWY_RESTRICT to) {
  const F32 d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(LoadRow(d, from + i), d, to + i);
  for (; i < count; ++i) to[i] = ToFloat(from[i]);
}

void WidenRows(const bfloat16* from, idx_t rows, idx_t cols, idx_t from_stride, float* to,
               idx_t to_stride) {
  for (idx_t r = 0; r < rows; ++r) WidenRow(from + r * from_stride, cols, to + r * to_stride);
}

void AddBiasRows(const float* HWY_RESTRICT bias, idx_t rows, idx_t cols, float* HWY_RESTRICT y,
                 idx_t stride) {
  const F32 d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  for (idx_t r = 0; r < rows; ++r, y += stride) {
    idx_t i = 0;
    for (; i + lanes <= cols; i += lanes) {
      hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, bias + i)), d, y + i);
    }
    for (; i < cols; ++i) y[i] += bias[i];
  }
}

HWY_INLINE void StoreRow(hn::Vec<F32> value, float* to) { hn::StoreU(value, F32(), to); }
HWY_INLINE void StoreOne(float value, bfloat16* to) { *to = ToBfloat16(value); }
HWY_INLINE void StoreOne(float value, float* to) { *to = value; }

template <class T>
HWY_INLINE void StoreTileRow(const float* HWY_RESTRICT tile, const float* HWY_RESTRICT bias,
                             bool accumulate, idx_t count, T* HWY_RESTRICT y) {
  const F32 d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  idx_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    auto value = hn::LoadU(d, tile + i);
    if (bias != nullptr) value = hn::Add(value, hn::LoadU(d, bias + i));
    if (accumulate) value = hn::Add(value, LoadRow(d, y + i));
    StoreRow(value, y + i);
  }
  for (; i < count; ++i) {
    float value = tile[i];
    if (bias != nullptr) value += bias[i];
    if (accumulate) value += LoadOne(y + i);
    StoreOne(value, y + i);
  }
}

void StoreTileBf16(const float* tile, idx_t tile_stride, const float* bias, bool accumulate,
                   idx_t rows, idx_t cols, bfloat16* y, idx_t stride) {
  for (idx_t r = 0; r < rows; ++r) {
    StoreTileRow(tile + r * tile_stride, bias, accumulate, cols, y + r * stride);
  }
}

void StoreTileF32(const float* tile, idx_t tile_stride, const float* bias, bool accumulate,
                  idx_t rows, idx_t cols, float* y, idx_t stride) {
  for (idx_t r = 0; r < rows; ++r) {
    StoreTileRow(tile + r * tile_stride, bias, accumulate, cols, y + r * stride);
  }
}

// Four vectors of columns at a time stay in registers while all rows pass by.
template <class T>
HWY_INLINE void SumBlock(const T* HWY_RESTRICT dy, idx_t rows, idx_t cols, idx_t stride,
                         float* HWY_RESTRICT sums) {
  const F32 d;
  const auto lanes = static_cast<idx_t>(hn::Lanes(d));
  idx_t i = 0;
  for (; i + 4 * lanes <= cols; i += 4 * lanes) {
    auto s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
    const T* row = dy + i;
    for (idx_t r = 0; r < rows; ++r, row += stride) {
      s0 = hn::Add(s0, LoadRow(d, row));
      s1 = hn::Add(s1, LoadRow(d, row + lanes));
      s2 = hn::Add(s2, LoadRow(d, row + 2 * lanes));
      s3 = hn::Add(s3, LoadRow(d, row + 3 * lanes));
    }
    hn::StoreU(s0, d, sums + i);
    hn::StoreU(s1, d, sums + i + lanes);
    hn::StoreU(s2, d, sums + i + 2 * lanes);
    hn::StoreU(s3, d, sums + i + 3 * lanes);
  }
  for (; i < cols; ++i) {
    float sum = 0.0f;
    for (idx_t r = 0; r < rows; ++r) sum += LoadOne(dy + r * stride + i);
    sums[i] = sum;
  }
}

void SumColumnsF32(const float* dy, idx_t rows, idx_t cols, idx_t stride, float* sums) {
  SumBlock(dy, rows, cols, stride, sums);
}

void SumColumnsBf16(const bfloat16* dy, idx_t rows, idx_t cols, idx_t stride, float* sums) {
  SumBlock(dy, rows, cols, stride, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace longspan::gemm
HWY_AFTER_NAMESPACE();

#endif
