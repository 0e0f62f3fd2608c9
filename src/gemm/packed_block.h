// What the vector code of the packed product is told: one packing, one block.
#pragma once

#include "longspan/types.h"

namespace longspan::gemm {

// What the active instruction set's vector code asks for. docs/record/performance.md, "Dense
// layers", has the measurements behind the numbers.
struct BlockShape {
  idx_t panel_rows = 0, panel_cols = 0;  // of a micro-tile
  // Terms of one pass over c, and rows of a that pass by a panel of b: both operands' parts fit the
  // second cache. Without wide vectors a panel of b stays in the first.
  idx_t most_terms = 0, most_rows = 0;
  bool reads_rows = false;  // a's rows of fp32 are read as they lie, and only packed where they end
};

// `lines` rows of a, or columns of b, with k terms each, to panels `panel_stride` floats apart.
struct Packing {
  idx_t stride = 0;           // between lines when k_contiguous, else between terms
  bool k_contiguous = false;  // the terms of a line are neighbours in memory, else the lines are
  idx_t lines = 0, k = 0;
  float* to = nullptr;
  idx_t panel_stride = 0;
};

// c (rows, cols) = [c +] a b [+ bias] over k terms, b packed.
struct Block {
  // a packed, or its rows as they lie, a_row apart (0: packed); then the last rows, fewer than a
  // panel's, are packed in `last`.
  const float* a = nullptr;
  const float* last = nullptr;
  const float* b = nullptr;
  idx_t a_row = 0;
  idx_t a_panel = 0, b_panel = 0;  // floats from one panel to the next
  idx_t rows = 0, cols = 0, k = 0;
  const float* bias = nullptr;
  bool accumulate = false;
  float* c = nullptr;
  idx_t c_stride = 0;
};

}  // namespace longspan::gemm
