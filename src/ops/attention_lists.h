// Lists of queries and keys: what the kernels of window attention, of its global rows and of
// attention on the tile unit work on. A list names tokens of one head; where their rows lie, which
// of them are hidden and who sees whom is read from it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "base/math.h"
#include "longspan/attention.h"
#include "simd/row_prefetcher.h"
#include "tensor/mixed_view.h"

namespace longspan {

inline bool IsLocal(std::uint8_t role) { return role != kHiddenToken && role != kGlobalToken; }

// Where the entries of a list stand in the text: every step-th token, or the tokens that are named.
struct TokenMap {
  idx_t origin = 0, step = 1;
  const idx_t* list = nullptr;
  idx_t circle = 0;  // tokens of a circle that the entries go around, at most once; 0: none
  const std::int32_t* narrow = nullptr;  // instead of `list`
  idx_t operator()(idx_t i) const {
    if (list != nullptr) return list[i];
    if (narrow != nullptr) return narrow[i];
    const idx_t token = origin + i * step;
    if (circle == 0) return token;
    return token < 0 ? token + circle : (token < circle ? token : token - circle);
  }
  // Whether entries [i, i + count) stand `step` apart.
  bool Regular(idx_t i, idx_t count) const {
    if (list != nullptr || narrow != nullptr) return false;
    return circle == 0 || (*this)(i + count - 1) - (*this)(i) == (count - 1) * step;
  }
};

// Keys that are chunks of a text in a row, around its ends if need be (ops/chunked_attention): each
// has `chunk` entries, also the text's last one, which may have fewer tokens. Query i, an entry of
// chunk i / chunk, sees the `parts` chunks of the list from that number on.
struct ChunkWindows {
  idx_t chunk = 0;               // 0: the keys are something else
  idx_t parts = 0;               // chunks of a window
  idx_t before = 0;              // of them, before the query's own
  idx_t place = 0;               // on the circle, of entry 0; negative: from its end
  idx_t circle = 0, tokens = 0;  // entries of the whole circle; of them exist
  idx_t Begin(idx_t i) const { return i / chunk * chunk; }  // of the window of query i
  idx_t Own(idx_t i) const { return i + before * chunk; }   // the entry that query i is
  idx_t First() const { return -place; }                    // the entry of the text's token 0
  idx_t Turn() const { return circle - place; }             // from this one on they go around again
  bool Exists(idx_t j) const {
    const idx_t at = place + j;
    return (at < 0 ? at + circle : (at < circle ? at : at - circle)) < tokens;
  }
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
  TokenRows<float> delta;  // dout . out of each row if the caller knows it; else base is null

  bool TakesPart(idx_t i) const { return roles == nullptr || IsLocal(roles[tokens(i)]); }
};

inline constexpr std::int32_t kNeverSeen = std::numeric_limits<std::int32_t>::max();

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
  ChunkWindows chunks;  // of these keys, a window; `causal` holds beside it
  idx_t slot = 0;       // dropout: that of key 0, of key i - left, or of the window's first
  // The shared form: keys are queries of one length, and a query does not see its own token.
  bool shared = false;
  // LSH attention: query tokens from bounds[j] on see entry j; kNeverSeen: none, because it is
  // hidden or does not exist (its token is then -1). Both lists are readable to a multiple of 32.
  // Null: that follows from places.
  const std::int32_t* bounds = nullptr;
  bool later = false;  // some bounds are tokens: causal
  // Of these entries, [round, round_end) are the tokens of the queries' own round, each once.
  idx_t round = 0, round_end = 0;

  bool Exists(idx_t j) const {
    if (bounds != nullptr) return tokens(j) >= 0;
    return chunks.chunk == 0 || chunks.Exists(j);
  }
  bool Shown(idx_t j) const {
    if (bounds != nullptr) return bounds[j] != kNeverSeen;
    if (!Exists(j)) return false;
    if (roles == nullptr) return true;
    const std::uint8_t role = roles[tokens(j)];
    return shows_global ? role != kHiddenToken : IsLocal(role);
  }
  // Query i, which stands at `token`, sees keys [Low, High) if they are shown. Both rise with i.
  // (Not of chunks, whose rows are walked one after another.)
  idx_t Low(idx_t i) const { return band ? std::clamp<idx_t>(i - left, 0, count) : 0; }
  idx_t High(idx_t i, idx_t token) const {
    if (band) return std::clamp<idx_t>(i + right + 1, 0, count);
    if (!causal) return count;
    if (tokens.list != nullptr) {
      return std::upper_bound(tokens.list, tokens.list + count, token) - tokens.list;
    }
    // Keys are all tokens from the first one on.
    return std::clamp<idx_t>(token + 1 - tokens.origin, 0, count);
  }
  // Slot of key 0 for query i.
  idx_t Slot(idx_t i) const {
    if (chunks.chunk > 0) return slot - chunks.Begin(i);
    return band ? slot - (i - left) : slot;
  }
};

// Rows of a (B, H, T, D) array for one head.
inline TokenRows<float> HeadRows(const View<float, 4>& view, idx_t b, idx_t h,
                                 const TokenMap& tokens) {
  if (view.empty()) return {};
  return {view.data + b * view.stride[0] + h * view.stride[1], view.stride[2], tokens};
}
template <class Row>
MixedRows<Row> HeadRows(const MixedView<Row>& view, idx_t b, idx_t h, const TokenMap& tokens) {
  if (view.empty()) return {};
  return {view(b, h, 0).data, view.bf16, view.stride[2], tokens};
}
inline TokenRows<float> HeadRows(const View<float, 3>& view, idx_t b, idx_t h,
                                 const TokenMap& tokens) {
  return {view.data + b * view.stride[0] + h * view.stride[1], view.stride[2], tokens};
}
// The roles, or the key mask, of row b; null: there are none.
inline const std::uint8_t* RolesOf(const View<const std::uint8_t, 2>& roles, idx_t b) {
  return roles.empty() ? nullptr : roles.data + b * roles.stride[0];
}

// Adds entries [begin, end) of a list, `size` elements each, to what will be needed soon.
template <class Row>
void AddRows(const MixedRows<Row>& rows, idx_t begin, idx_t end, idx_t size,
             RowPrefetcher* coming) {
  const TokenMap& tokens = rows.tokens;
  const idx_t width = rows.bf16 ? 2 : 1;  // elements in a float's place
  if (rows.stride % width != 0) return;
  const auto* base = static_cast<const float*>(rows.base);
  const idx_t stride = rows.stride / width, floats = CeilDiv(size, width);
  if (tokens.list != nullptr) {
    coming->Add(tokens.list + begin, base, stride, end - begin, floats);
  } else if (tokens.narrow != nullptr) {
    coming->Add(tokens.narrow + begin, base, stride, end - begin, floats);
  } else {
    coming->Add(base + tokens(begin) * stride, tokens.step * stride, end - begin, floats);
  }
}

inline void AddRows(const TokenRows<float>& rows, idx_t begin, idx_t end, idx_t size,
                    RowPrefetcher* coming) {
  AddRows(OutRows{rows.base, false, rows.stride, rows.tokens}, begin, end, size, coming);
}

}  // namespace longspan
