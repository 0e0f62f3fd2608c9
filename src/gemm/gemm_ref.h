// Plain loops: what the dense layers compute, and the scale of their rounding errors.
#pragma once

#include <cmath>
#include <vector>

#include "longspan/types.h"

namespace longspan::gemm {

// A matrix by its element strides.
template <class T>
struct RefMatrix {
  const T* data;
  idx_t rows, cols, row_stride, col_stride;
  T operator()(idx_t r, idx_t c) const { return data[r * row_stride + c * col_stride]; }
  RefMatrix Transposed() const { return {data, cols, rows, col_stride, row_stride}; }
};

// a b, and |a| |b| when `magnitude` is given: an fp32 product is right to about sqrt(k) u |a| |b|.
template <class T>
std::vector<double> RefProduct(const RefMatrix<T>& a, const RefMatrix<T>& b,
                               std::vector<double>* magnitude = nullptr) {
  const auto size = static_cast<std::size_t>(a.rows * b.cols);
  std::vector<double> c(size, 0.0), scale(size, 0.0);
  for (idx_t i = 0; i < a.rows; ++i) {
    double* c_row = c.data() + i * b.cols;
    double* scale_row = scale.data() + i * b.cols;
    for (idx_t p = 0; p < a.cols; ++p) {
      const auto left = static_cast<double>(a(i, p));
      for (idx_t j = 0; j < b.cols; ++j) {
        const double term = left * static_cast<double>(b(p, j));
        c_row[j] += term;
        scale_row[j] += std::abs(term);
      }
    }
  }
  if (magnitude != nullptr) *magnitude = std::move(scale);
  return c;
}

}  // namespace longspan::gemm
