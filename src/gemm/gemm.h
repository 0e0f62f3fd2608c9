// Dense layers: y = x w^T + bias and its gradients, through oneDNN's matmul. From 128 tokens on a
// packed product of our own (packed_product.h) is faster with AVX2 and SSE4, and for fp32's y and
// dx with AVX-512 on AMD. Up to 8 tokens go forward as dot products that pack nothing (few_rows.h).
// bf16 runs on our own product on the tile unit (tile_product.h) where the user wants that.
// Every function cuts its work into a grid that the problem's shape fixes, never the number of
// threads: the same bits for any number of threads. fp32 accumulation always.
#pragma once

#include <cstddef>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan::gemm {

// A row-major matrix of fp32 or bf16 whose rows lie `stride` elements apart.
struct ConstMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  idx_t rows = 0, cols = 0, stride = 0;

  ConstMatrix() = default;
  ConstMatrix(const View<const float, 2>& view);     // NOLINT: a view is a matrix
  ConstMatrix(const View<float, 2>& view);           // NOLINT
  ConstMatrix(const View<const bfloat16, 2>& view);  // NOLINT
  ConstMatrix(const View<bfloat16, 2>& view);        // NOLINT
};
struct Matrix {
  void* data = nullptr;
  DType dtype = DType::kF32;
  idx_t rows = 0, cols = 0, stride = 0;

  Matrix() = default;
  Matrix(const View<float, 2>& view);     // NOLINT
  Matrix(const View<bfloat16, 2>& view);  // NOLINT
};

enum class Store { kOverwrite, kAccumulate };

// y (T, N) = x (T, K) w (N, K)^T [+ bias (N)] [+ y]. x and w have one dtype; y is that or fp32.
// bf16 operands take the hardware's bf16 product where there is one and are widened to fp32 slab
// by slab where there is none: DensePath (base/dense_path.h). Cost 2 T N K flop.
void Forward(Context& context, const ConstMatrix& x, const ConstMatrix& w, const float* bias,
             const Matrix& y, Store store = Store::kOverwrite);

// dx (T, K) = dy (T, N) w (N, K) [+ dx].
void BackwardData(Context& context, const ConstMatrix& dy, const ConstMatrix& w, const Matrix& dx,
                  Store store = Store::kOverwrite);

// dw (N, K) += dy (T, N)^T x (T, K). dw is fp32. Nothing is computed for a dw without data, which
// nobody wants: of frozen weights.
void BackwardWeights(Context& context, const ConstMatrix& dy, const ConstMatrix& x,
                     const View<float, 2>& dw);

// dbias (N) += column sums of dy (T, N), in a fixed order.
void BackwardBias(Context& context, const ConstMatrix& dy, float* dbias);

// y (T, N) bf16 = x (T, N), to nearest: how operands of bf16 products are made. And back, exactly.
void Round(Context& context, const View<const float, 2>& x, const View<bfloat16, 2>& y);
void Widen(Context& context, const View<const bfloat16, 2>& x, const View<float, 2>& y);

// For benchmarks and tests; no model asks for it. From now on, where DensePath is kTiles or kTwin,
// products of fp32 are made of three bf16 parts of each number (RunSplitProduct of tile_product.h),
// but for numbers that do not fit and for Forward of up to 8 tokens.
void SplitFp32(bool on);

// What the last Forward of this process ran: oneDNN's implementation ("gemm:jit",
// "brg:avx512_core") or "longspan:" and the name of our own product. For benchmarks and for the
// test that a forced ISA ran.
const char* LastImplementation();

}  // namespace longspan::gemm
