// What surrounds a product: moving rows between bf16 and fp32, adding the bias, summing columns.
// On the calling thread; strides in elements.
#pragma once

#include "longspan/types.h"

namespace longspan::gemm {

// to (rows, cols) fp32 = from, widened when it is bf16.
void CopyRows(const void* from, DType dtype, idx_t rows, idx_t cols, idx_t from_stride, float* to,
              idx_t to_stride);

// y (rows, cols) += bias (cols).
void AddBias(const float* bias, idx_t rows, idx_t cols, float* y, idx_t stride);

// y (rows, cols) bf16 = tile [+ bias (cols)] [+ y]: added in fp32, rounded once. bias may be null.
void NarrowRows(const float* tile, idx_t tile_stride, const float* bias, bool accumulate,
                idx_t rows, idx_t cols, bfloat16* y, idx_t stride);

// The same to a y of fp32 or bf16.
void StoreRows(const float* tile, idx_t tile_stride, const float* bias, bool accumulate, idx_t rows,
               idx_t cols, void* y, DType dtype, idx_t stride);

// sums (cols) = the sums of the columns of dy (rows, cols), row after row.
void SumColumns(const void* dy, DType dtype, idx_t rows, idx_t cols, idx_t stride, float* sums);

// y (count) += x (count).
void AddTo(const float* x, idx_t count, float* y);

}  // namespace longspan::gemm
