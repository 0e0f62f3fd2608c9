// Vector code of cached_attention.h. Cells lie anywhere, so they are asked for some cells ahead.
#if defined(LONGSPAN_OPS_CACHED_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_CACHED_ATTENTION_INL_H_
#undef LONGSPAN_OPS_CACHED_ATTENTION_INL_H_
#else
#define LONGSPAN_OPS_CACHED_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "longspan/attention.h"
#include "ops/cached_attention/cached_attention.h"
#include "simd/shared_key-inl.h"
#include "simd/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline constexpr idx_t kCellsAhead = 12;
inline constexpr int kCellsAtOnce = 4;
inline constexpr int kValueVectors = 4;

HWY_INLINE void PrefetchRow(const float* row, idx_t size) {
  for (idx_t i = 0; i < size; i += 16) __builtin_prefetch(row + i, 0, 2);
}

// scores[0 .. N) = scale query . key of N cells.
template <int N>
HWY_INLINE void ScoreCells(const CachedQuery& q, const float* const* cells, float* scores) {
  const TileTag d;
  hn::Vec<TileTag> sum[N];
  LONGSPAN_UNROLL
  for (int i = 0; i < N; ++i) sum[i] = hn::Zero(d);
  idx_t k = 0;
  for (; k + kTileLanes <= q.size; k += kTileLanes) {
    const auto x = hn::LoadU(d, q.query + k);
    LONGSPAN_UNROLL
    for (int i = 0; i < N; ++i) sum[i] = hn::MulAdd(x, hn::LoadU(d, cells[i] + k), sum[i]);
  }
  for (int i = 0; i < N; ++i) {
    auto total = sum[i];
    if (k < q.size) {
      total =
          hn::MulAdd(LoadTail(q.query + k, q.size - k), LoadTail(cells[i] + k, q.size - k), total);
    }
    scores[i] = cells[i] == q.self ? kSelfScore : q.scale * hn::GetLane(hn::SumOfLanes(d, total));
  }
}

// weights[0 .. count) = scores, [count, whole vectors) hidden.
HWY_INLINE void Scores(const CachedQuery& q, idx_t room) {
  // Values too: unless there are very many, they are still there when their turn comes.
  idx_t asked = 0;
  const auto ask = [&](idx_t end) {
    for (; asked < std::min(end, q.count); ++asked) PrefetchRow(q.cells[asked], 2 * q.size);
  };
  ask(kCellsAhead);
  idx_t i = 0;
  for (; i + kCellsAtOnce <= q.count; i += kCellsAtOnce) {
    ask(i + kCellsAtOnce + kCellsAhead);
    ScoreCells<kCellsAtOnce>(q, q.cells + i, q.weights + i);
  }
  for (; i < q.count; ++i) ScoreCells<1>(q, q.cells + i, q.weights + i);
  for (; i < room; ++i) q.weights[i] = kHiddenScore;
}

// out[0 .. columns) = factor times the sum of weights times values [first, first + columns), NV
// vectors wide.
template <int NV>
HWY_INLINE void MixValues(const CachedQuery& q, idx_t first, idx_t columns, float factor) {
  const TileTag d;
  hn::Vec<TileTag> sum[NV];
  LONGSPAN_UNROLL
  for (int j = 0; j < NV; ++j) sum[j] = hn::Zero(d);
  const bool whole = columns == NV * kTileLanes;
  for (idx_t i = 0; i < q.count; ++i) {
    const float* value = q.cells[i] + q.size + first;
    if (i + kCellsAhead < q.count) {
      PrefetchRow(q.cells[i + kCellsAhead] + q.size + first, columns);
    }
    const auto weight = hn::Set(d, q.weights[i]);
    LONGSPAN_UNROLL
    for (int j = 0; j < NV; ++j) {
      const idx_t at = j * kTileLanes;
      const auto v = whole ? hn::LoadU(d, value + at)
                           : (at < columns ? LoadTail(value + at, columns - at) : hn::Zero(d));
      sum[j] = hn::MulAdd(weight, v, sum[j]);
    }
  }
  const auto f = hn::Set(d, factor);
  for (int j = 0; j < NV; ++j) {
    const idx_t at = j * kTileLanes;
    if (at < columns) StoreTail(hn::Mul(f, sum[j]), q.out + first + at, columns - at);
  }
}

inline void AttendCells(const CachedQuery& q) {
  const idx_t room = (q.count + kTileLanes - 1) / kTileLanes * kTileLanes;
  Scores(q, room);
  const float sum = ExpRow(q.weights, room, MaxRow(q.weights, room));
  constexpr idx_t kColumns = kValueVectors * kTileLanes;
  for (idx_t first = 0; first < q.size; first += kColumns) {
    MixValues<kValueVectors>(q, first, std::min(kColumns, q.size - first), 1.0f / sum);
  }
}

inline void KeyOf(const float* x, idx_t size, float* key) { SharedKey(x, size, key); }

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_CACHED_ATTENTION_INL_H_
