// What one head's attention is made of: a list of query rows, lists of keys, and who sees whom.
// Windows, global keys and global rows are all such lists; the vector code is in row_block-inl.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/math.h"
#include "base/rng.h"
#include "longspan/attention.h"
#include "tensor/mixed_view.h"

namespace longspan {

inline bool IsLocal(std::uint8_t role) { return role != kHiddenToken && role != kGlobalToken; }

// Where the entries of a list stand in the text: every step-th token, or the tokens that are named.
struct TokenMap {
  idx_t origin = 0, step = 1;
  const idx_t* list = nullptr;
  idx_t operator()(idx_t i) const { return list != nullptr ? list[i] : origin + i * step; }
};

// Rows of an array, one for each entry of a list.
template <class T>
struct TokenRows {
  T* base = nullptr;  // row of token 0
  idx_t stride = 0;
  TokenMap tokens;
  T* operator()(idx_t i) const { return base + tokens(i) * stride; }
};

// The same of fp32 or bf16.
template <class Row>
struct MixedRows {
  decltype(Row::data) base = nullptr;
  bool bf16 = false;
  idx_t stride = 0;  // elements
  TokenMap tokens;
  Row operator()(idx_t i) const {
    using Byte = std::conditional_t<std::is_same_v<Row, InRow>, const std::byte, std::byte>;
    return {static_cast<Byte*>(base) + tokens(i) * stride * (bf16 ? 2 : 4), bf16};
  }
};
using InRows = MixedRows<InRow>;
using OutRows = MixedRows<OutRow>;

// The queries of one list. Arrays that a task does not need stay null.
struct QueryRows {
  idx_t count = 0;
  TokenMap tokens;
  const std::uint8_t* roles = nullptr;  // (T): rows that are not local take no part; null: all do
  idx_t head_row = 0;                   // (b*H + h)*T, for dropout
  InRows q, dout;
  OutRows out;
  TokenRows<float> lse, dq;

  bool TakesPart(idx_t i) const { return roles == nullptr || IsLocal(roles[tokens(i)]); }
};

// The keys of one list.
struct KeyRows {
  idx_t count = 0;
  TokenMap tokens;
  const std::uint8_t* roles = nullptr;  // (T): hides keys by their role; null: none is hidden
  bool shows_global = false;            // which roles are shown: all but hidden, or local alone
  InRows k, v;
  TokenRows<float> dk, dv;
  // Query i sees keys i - left .. i + right (lists of the same tokens), or all.
  bool band = false;
  idx_t left = 0, right = 0;
  bool causal = false;  // of all keys, those up to the query's own position
  idx_t slot = 0;       // dropout: that of key 0, or of key i - left

  bool Shown(idx_t j) const {
    if (roles == nullptr) return true;
    const std::uint8_t role = roles[tokens(j)];
    return shows_global ? role != kHiddenToken : IsLocal(role);
  }
  // Query i, which stands at `token`, sees keys [Low, High) if they are shown. Both rise with i.
  idx_t Low(idx_t i) const { return band ? std::clamp<idx_t>(i - left, 0, count) : 0; }
  idx_t High(idx_t i, idx_t token) const {
    if (band) return std::clamp<idx_t>(i + right + 1, 0, count);
    if (!causal) return count;
    if (tokens.list != nullptr) {
      return std::upper_bound(tokens.list, tokens.list + count, token) - tokens.list;
    }
    return std::clamp<idx_t>(token + 1, 0, count);  // keys are tokens 0, 1, ...
  }
  // Slot of key 0 for query i.
  idx_t Slot(idx_t i) const { return band ? slot - (i - left) : slot; }
};

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
