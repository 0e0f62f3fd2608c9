// The shared form on tiles (Reformer's LSH layers; longspan/attention.h, "shared queries and
// keys"): keys are queries x of one length, k = x factor, so a score is (x_t . x_j) factor_j, and x
// serves as query and as key. A token gives itself nothing, unless it sees nobody else.
//
// Rounds of LSH attention come one after another. What a token has summed lies with the caller, and
// each round's rows are merged into it: weights are exp(score - max), and what they are relative to
// may differ from round to round.

// Included once for every target.
#if defined(LONGSPAN_OPS_AMX_SHARED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_AMX_SHARED_INL_H_
#undef LONGSPAN_OPS_AMX_SHARED_INL_H_
#else
#define LONGSPAN_OPS_AMX_SHARED_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/amx_attention/amx_pack-inl.h"
#include "simd/bf16-inl.h"
#include "simd/shared_key-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Queries up to this length have the bound |x| of their scores as `max`, as the other kernels have
// it: exp(-2 |x|) is far from the smallest normal float.
inline constexpr float kLongestMax = 40.0f;

// factors (32): key / x, of tokens whose x . x are `squares`.
inline void SharedFactors(const float* squares, idx_t D, float* factors) {
  const hn::CappedTag<float, 16> d;
  for (idx_t r = 0; r < kAmxBlock; r += static_cast<idx_t>(hn::Lanes(d))) {
    hn::Store(SharedKeyFactor(d, hn::Load(d, squares + r), D), d, factors + r);
  }
}

// How often query i meets its own token among the keys that it might see, and the sum of dropout's
// factors there.
struct OwnWeight {
  float count = 0.0f, kept = 0.0f;
};
inline OwnWeight WeighOwn(const AmxPlan& plan, const AmxLists& lists, const SeenKeys& seen,
                          idx_t r) {
  const KeyRows& keys = lists.keys;
  const idx_t i = seen.first + r, token = lists.queries.tokens(i), own = seen.own + r;
  const idx_t first = (lists.queries.head_row + token) * plan.slots + keys.Slot(i);
  OwnWeight weight;
  // Without bounds an entry is a token that occurs once.
  const idx_t begin = keys.bounds != nullptr ? seen.low[r] : own;
  const idx_t end = keys.bounds != nullptr ? seen.high[r] : own + 1;
  for (idx_t j = begin; j < end; ++j) {
    if (keys.tokens(j) != token) continue;
    weight.count += 1.0f;
    weight.kept += plan.dropout.active() ? plan.dropout.Factor(first + j) : 1.0f;
  }
  return weight;
}

// What a round gives a query: weights relative to `shift`, their sum, and the weighted values (D).
// Null: it sees nobody but itself.
struct SharedRow {
  float shift, sum;
  const float* values;
};

// Sums that move on: y = grow * values + shrink * sums.
struct SharedMerge {
  float grow = 1.0f, shrink = 0.0f, sum = 0.0f, max = 0.0f;
};

inline SharedMerge MergeOf(const AmxShared& shared, idx_t i, const SharedRow& row) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const float earlier = shared.first ? kNone : *shared.max(i);
  const float before = shared.first ? 0.0f : *shared.sum(i);
  SharedMerge merge;
  merge.max = std::max(earlier, row.shift);
  if (earlier != kNone) merge.shrink = std::exp(earlier - merge.max);
  if (row.shift != merge.max) merge.grow = std::exp(row.shift - merge.max);
  merge.sum = merge.shrink * before + merge.grow * row.sum;
  return merge;
}

// max and sum as everybody reads them, and out.
inline void WriteSharedRow(const AmxPlan& plan, const AmxLists& lists, idx_t i,
                           const SharedMerge& merge, float* values) {
  const AmxShared& shared = lists.shared;
  const InRow x = lists.queries.q(i);
  const float length = std::sqrt(DotRow(x, x, plan.D));
  float max = merge.max, sum = merge.sum;
  if (max != kSelfScore && length <= kLongestMax) {
    sum *= std::exp(max - length);
    max = length;
  }
  *shared.saved_max(i) = max;
  *shared.saved_sum(i) = sum;
  ScaleRow(values, 1.0f / merge.sum, lists.queries.out(i), plan.D);
}

// Merges row r of a block of queries into its token's sums; the last round writes out, max and sum.
inline void MergeSharedRow(const AmxPlan& plan, const AmxLists& lists, const SeenKeys& seen,
                           idx_t r, SharedRow row) {
  const AmxShared& shared = lists.shared;
  const idx_t i = seen.first + r;
  alignas(64) float own[kAmxMostHeadSize];
  if (row.values == nullptr) {
    row = {kSelfScore, 0.0f, own};
    if (!shared.first && *shared.max(i) > kSelfScore) {  // it saw others, which outweigh it
      row.shift = *shared.max(i);
      std::fill_n(own, plan.D, 0.0f);
    } else {
      const OwnWeight weight = WeighOwn(plan, lists, seen, r);
      row.sum = weight.count;
      ScaleRow(lists.keys.v(seen.own + r), weight.kept, own, plan.D);
    }
  }
  const SharedMerge merge = MergeOf(shared, i, row);
  alignas(64) float merged[kAmxMostHeadSize];
  const float* before = shared.first ? nullptr : shared.sums(i);
  for (idx_t d = 0; d < plan.D; ++d) {
    merged[d] = merge.grow * row.values[d] + (before != nullptr ? merge.shrink * before[d] : 0.0f);
  }
  if (shared.last) return WriteSharedRow(plan, lists, i, merge, merged);
  *shared.max(i) = merge.max;
  *shared.sum(i) = merge.sum;
  std::copy_n(merged, plan.D, shared.sums(i));
}

// ---- backward -----------------------------------------------------------------------------------

// dv of the token of row r of a block of queries, which sees itself alone: its weight is 1.
inline void AddOwnValue(const AmxPlan& plan, const AmxLists& lists, const SeenKeys& seen, idx_t r) {
  const float weight = WeighOwn(plan, lists, seen, r).kept / *lists.shared.sum(seen.first + r);
  AddScaledRow(lists.queries.dout(seen.first + r), weight, lists.keys.dv(seen.own + r), plan.D);
}

// What entry j of the keys got: g = factor dk and dv (D), g as the gradient of x . factor. Those of
// the entries at hand go to the caller's rows, the others to the side.
inline void AddSharedKey(const AmxPlan& plan, const AmxLists& lists, idx_t j, bool shown,
                         float square, const float* g, const float* dv) {
  const AmxShared& shared = lists.shared;
  const KeyRows& keys = lists.keys;
  if (j >= shared.own && j < shared.own_end) {
    if (!shown) return;
    AddKeyGradient(keys.k(j), g, square, plan.D, keys.dk(j));
    return AddRow(dv, keys.dv(j), plan.D);
  }
  const idx_t chunk = keys.chunks.chunk;
  const idx_t at = j < shared.own ? j : j - (shared.own_end - shared.own);
  float* side = shared.side + (at / chunk * 2 * chunk + at % chunk) * shared.side_row;
  std::copy_n(g, plan.D, side);
  std::copy_n(dv, plan.D, side + chunk * shared.side_row);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_AMX_SHARED_INL_H_
