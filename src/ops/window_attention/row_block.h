// Blocks of query rows and packed keys of one head: extents and scratch. Windows, global keys and
// global rows are all lists (ops/attention_lists.h); the vector code is in row_block-inl.h.
#pragma once

#include <cstdint>

#include "base/math.h"
#include "base/rng.h"
#include "ops/attention_lists.h"

namespace longspan {

// Extents that all tasks of a call share. Rows of scratch are padded to kRowUnit floats (the widest
// vector), panels of B to kPanelUnit columns (the widest panel of simd/tile-inl.h); keys are packed
// kPanelUnit at a time.
struct BlockPlan {
  static constexpr idx_t kRowUnit = 16, kPanelUnit = 64;
  // Query rows at a time, at most: whole tiles.
  static constexpr idx_t kRows = 72;
  // Lists of keys that a block of query rows meets at once; the first of two is a short one.
  static constexpr int kParts = 2;

  idx_t D = 0;
  float scale = 0.0f;
  Dropout dropout;
  idx_t slots = 0;         // of a row, for dropout
  idx_t rows = kRows;      // at a time
  idx_t row = 0;           // D, padded
  idx_t wide = 0;          // D, padded to panels
  idx_t score_stride = 0;  // between rows of scores
};

// Keys [begin, end) of a list, packed. Key j lies in slot j % ring. begin and ring are multiples of
// kPanelUnit. Sizes are in setup.cc.
struct PackedKeys {
  idx_t ring = 0;
  idx_t begin = 0, end = 0;
  float* key_panels = nullptr;    // K^T, panels of keys: [D][kPanel] each
  float* value_panels = nullptr;  // V, panels of channels: [ring][kPanel] each; backward V^T
  float* visible = nullptr;       // (ring): 1 or 0
  std::uint8_t* hides = nullptr;  // (ring / kPanelUnit): some key of the unit is hidden
  float* norms = nullptr;         // (ring / kPanelUnit): no squared norm in the unit is larger
  float* rows = nullptr;          // (kPanelUnit, row): keys on their way into panels
  // Backward only.
  float* key_rows = nullptr;  // K, panels of channels: [ring][kPanel] each
  float* dk = nullptr;        // (ring, row)
  float* dv = nullptr;        // (ring, row)
};

// What a thread needs for query rows.
struct RowScratch {
  float* queries = nullptr;  // (rows, row): scaled
  float* output = nullptr;   // (rows, row): out before normalisation; backward dq
  float* scores = nullptr;   // (plan.rows, score_stride)
  float* max = nullptr;      // (rows): of the keys so far, or 0 while scores are small
  float* sum = nullptr;      // (rows): of exp(score - max) so far
  // Backward only.
  float* douts = nullptr;         // (plan.rows, row)
  float* dscores = nullptr;       // (plan.rows, score_stride)
  float* query_panels = nullptr;  // scaled queries of a block
  float* dout_panels = nullptr;   // dout of a block
  float* pairs = nullptr;         // (plan.rows, score_stride / 2): dscores as bf16
  float* factors = nullptr;       // (ring): dropout
};

}  // namespace longspan
