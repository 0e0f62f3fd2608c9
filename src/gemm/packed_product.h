// A dense product that packs its operands: oneDNN's kernels below AVX-512 read them as they lie.
// With AVX-512 it packs b, and reads rows of a as they lie. docs/record/performance.md, "Dense
// layers", has the measurements, and gemm.cc the rule when it runs.
#pragma once

#include "gemm/gemm.h"

namespace longspan::gemm {

// An operand, fp32 or bf16 (widened while it is packed). A line is a row of a or a column of b.
struct PackedOperand {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  idx_t stride = 0;           // elements between lines when k_contiguous, else between terms
  bool k_contiguous = false;  // the terms of a line are neighbours in memory, else the lines are
};

// c (rows, cols) = a (rows, terms) b (terms, cols) [+ bias (cols)] [+ c].
struct PackedProduct {
  idx_t rows = 0, cols = 0, terms = 0;
  PackedOperand a, b;
  const float* bias = nullptr;
  Matrix c;
  bool accumulate = false;
  idx_t most_packed = idx_t{3} << 20;  // floats of b that are packed at a time: 12 MiB
};

inline constexpr const char* kPackedName = "longspan:packed";

// Tasks and the order of every sum follow from the shape and the instruction set.
void RunPackedProduct(Context& context, const PackedProduct& product);

}  // namespace longspan::gemm
