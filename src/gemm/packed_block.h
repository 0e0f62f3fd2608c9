// What the vector code of the packed product is told: one packing, one block.
#pragma once

#include "longspan/types.h"

namespace longspan::gemm {

// Rows of a micro-tile: with three vectors of columns its 12 sums, three vectors of b and one of a
// fill the 16 registers of AVX2. Per term it loads 7 times for 12 multiply-adds; 6 rows of two
// vectors load 8 times, take more of a from the second cache, and ran 10 % slower.
inline constexpr idx_t kPanelRows = 4;

// `lines` rows of a, or columns of b, with k terms each, to panels `panel_stride` floats apart.
struct Packing {
  idx_t stride = 0;           // between lines when k_contiguous, else between terms
  bool k_contiguous = false;  // the terms of a line are neighbours in memory, else the lines are
  idx_t lines = 0, k = 0;
  float* to = nullptr;
  idx_t panel_stride = 0;
};

// c (rows, cols) = [c +] a b [+ bias], a and b packed with k terms.
struct Block {
  const float* a = nullptr;
  const float* b = nullptr;
  idx_t a_panel = 0, b_panel = 0;  // floats from one panel to the next
  idx_t rows = 0, cols = 0, k = 0;
  const float* bias = nullptr;
  bool accumulate = false;
  float* c = nullptr;
  idx_t c_stride = 0;
};

}  // namespace longspan::gemm
