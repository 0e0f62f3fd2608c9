// What the vector code of the tile product is told: one packing, one task.
#pragma once

#include "longspan/types.h"

namespace longspan::gemm {

// Rows, columns and terms of a block: 2 x 2 tiles of sums, two tiles of each operand. A panel is a
// block's rows or columns with all their terms, and a step of it is 32 terms.
inline constexpr idx_t kTileSide = 32;
inline constexpr idx_t kTileStepBytes = kTileSide * kTileSide * 2;
// bf16 parts of an fp32 number. They are exact, and their products no zeros, between these sizes;
// sums of 2^27 products of the largest are still finite.
inline constexpr idx_t kTileParts = 3;
inline constexpr float kLeastSplit = 0x1p-50f, kMostSplit = 0x1p50f;
inline constexpr idx_t kTileSums = kTileSide * kTileSide;  // floats of a block of sums

// `lines` rows of a, or columns of b, with k terms each, to panels of tiles that follow each other.
// What is missing from a last panel or step is zeros. bf16 as it is; fp32 as the bf16 parts whose
// sum it is, each step's parts one after another.
struct TilePacking {
  const void* from = nullptr;
  idx_t stride = 0;           // elements between lines when k_contiguous, else between terms
  bool k_contiguous = false;  // the terms of a line are neighbours in memory, else the lines are
  bool left = false;          // for a, else for b
  idx_t lines = 0, k = 0;
  char* to = nullptr;
};

// c (rows, cols) = a b [+ bias] [+ c], b packed. Of c: or its transpose.
struct TileTask {
  idx_t parts = 1;  // of each number: 1 of bf16, kTileParts of fp32
  // a packed, or its rows as they lie, a_row bytes apart (0: packed); then the last rows, fewer
  // than a panel's, are packed in `last`.
  const char* a = nullptr;
  const char* last = nullptr;
  idx_t a_row = 0;
  const char* b = nullptr;
  idx_t rows = 0, cols = 0;
  idx_t steps = 0, most_steps = 0;  // of a panel; of one pass, whose part of b fits the first cache
  float* sums = nullptr;            // where there are several passes: a block for each panel of a
  float* room = nullptr;            // two blocks
  const float* bias = nullptr;      // of c's columns
  bool accumulate = false;
  bool flipped = false;  // c's rows are the columns here: the block is transposed when it is stored
  void* c = nullptr;
  DType c_dtype = DType::kF32;
  idx_t c_stride = 0;  // elements
};

}  // namespace longspan::gemm
