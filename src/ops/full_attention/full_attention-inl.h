// Full attention, one task, fp32: a run of query rows forward, a pair of token groups backward.
//
//   q, k, v, out (T, D) of one head, any row stride; lse, or max and sum (T).
// Work: 4 D flop per query and visible key forward, 10 D backward (scores recomputed in it); key
// blocks in the causal future cost nothing. Scratch: a key block in panels, a block of scores.
// Route: key block -> packed panels; per block of query rows: scores, softmax, products. Forward
// keeps each row's maximum and sum so far and rescales what it has when the maximum rises.
// Rows of a tile share their limits, so masks touch only blocks on the diagonal, the last block and
// blocks with hidden keys.
// Edges: blind rows (separate form, no visible key) come first in a head and weigh all T keys; in
// the shared form a token's score with itself is replaced, behind every mask.

// Included once for every target.
#if defined(LONGSPAN_OPS_FULL_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_FULL_ATTENTION_INL_H_
#undef LONGSPAN_OPS_FULL_ATTENTION_INL_H_
#else
#define LONGSPAN_OPS_FULL_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "base/math.h"
#include "ops/full_attention/full_attention.h"
#include "simd/philox-inl.h"
#include "simd/shared_key-inl.h"
#include "simd/softmax-inl.h"
#include "simd/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One task's view of the problem: a head, and the key block it stands at.
struct FullTask {
  const FullArguments& args;
  const FullPlan& plan;
  const FullScratch& scratch;
  idx_t b, h;
  idx_t blind = 0;  // the first rows of the head: they see no key at all
  // The current key block.
  idx_t first = 0;      // position of its first key
  idx_t keys = 0;       // that exist
  bool masked = false;  // the key mask hides some of them
  bool shown = true;    // and leaves some

  FullTask(const FullArguments& arguments, const FullScratch& memory, idx_t head)
      : args(arguments), plan(arguments.plan), scratch(memory), b(head / plan.H), h(head % plan.H) {
    if (args.first_visible == nullptr || plan.shared) return;
    const idx_t visible = args.first_visible[b];
    if (plan.causal || visible == plan.T) blind = visible;
  }

  // Keys of the block that query t may look at (the key mask aside). Blind rows weigh all.
  idx_t Limit(idx_t t) const {
    if (!plan.causal || t < blind) return keys;
    return std::clamp<idx_t>(t + 1 - first, 0, keys);
  }
  // The same for queries [t, t + m): the largest of them. Blind rows come first, then it rises.
  idx_t Limit(idx_t t, idx_t m) const { return std::max(Limit(t), Limit(t + m - 1)); }

  // The block holds query t's own key, and queries are their own keys.
  bool HoldsSelf(idx_t t) const { return plan.shared && t >= first && t < first + keys; }

  // Some query of [begin, end) may give a key of the block a weight.
  bool Matters(idx_t begin, idx_t end) const {
    if (plan.causal && begin >= blind && end <= first) return false;
    if (shown || begin < blind) return true;
    return plan.shared && begin < first + keys && end > first;
  }

  idx_t DropoutElement(idx_t t) const { return ((b * plan.H + h) * plan.T + t) * plan.T + first; }
};

// ---- the key block ------------------------------------------------------------------------------

// Moves to the block of `keys` keys from position `first`, and looks which ones are visible.
inline void MoveToBlock(FullTask& x, idx_t first, idx_t keys) {
  x.first = first;
  x.keys = keys;
  if (x.args.mask.empty()) return;
  const std::uint8_t* mask = &x.args.mask(x.b, first);
  idx_t count = 0;
  for (idx_t j = 0; j < x.plan.columns; ++j) {
    const bool visible = j < keys && mask[j] != 0;
    x.scratch.visible[j] = visible ? 1.0f : 0.0f;
    count += visible ? 1 : 0;
  }
  x.masked = count < keys;
  x.shown = count > 0;
}

// Rows of the block's keys, with room for their stride: the caller's, or in the shared form
// normalised copies.
inline const float* KeyRows(const FullTask& x, idx_t* stride) {
  const auto& k = x.args.k;
  if (!x.plan.shared) {
    *stride = k.stride[2];
    return &k(x.b, x.h, x.first, 0);
  }
  for (idx_t j = 0; j < x.keys; ++j) {
    SharedKey(&k(x.b, x.h, x.first + j, 0), x.plan.D, x.scratch.keys + j * x.plan.row);
  }
  *stride = x.plan.row;
  return x.scratch.keys;
}

// ---- pieces of a block of query rows ------------------------------------------------------------
// A block is queries [t0, t0 + rows), rows <= plan.block.

// out (rows, score_stride) = a (rows, row) times the panels of the key block.
inline void BlockScores(const FullTask& x, idx_t t0, idx_t rows, const float* a,
                        const float* panels, float* out) {
  const idx_t stride = x.plan.row;
  for (idx_t first = 0; first < x.keys; first += kPanel, panels += x.plan.D * kPanel) {
    for (idx_t r = 0; r < rows; r += kTileRows) {
      const idx_t m = std::min(kTileRows, rows - r);
      const idx_t n = std::min(kPanel, x.Limit(t0 + r, m) - first);
      if (n <= 0) continue;
      const TileTerm term{a + r * stride, panels, x.plan.D};
      TileMultiply<false>(m, n, &term, 1, stride, false, out + r * x.plan.score_stride + first,
                          x.plan.score_stride);
    }
  }
}

// Hides what query t may not see in its row of scores, up to column `end`.
inline void HideScores(const FullTask& x, idx_t t, idx_t end, float* row) {
  const idx_t limit = x.Limit(t);
  if (limit < end) FillRow(row, limit, end, kHiddenScore);
  if (x.masked) HideRow(row, x.scratch.visible, RoundUp(limit, kTileLanes));
  if (x.HoldsSelf(t)) row[t - x.first] = kSelfScore;
}

// out (rows, row) = or += P B; P (rows, score_stride), B (keys, D) in panels.
inline void BlockProduct(const FullTask& x, idx_t t0, idx_t rows, const float* p,
                         const float* panels, bool accumulate, float* out) {
  for (idx_t first = 0; first < x.plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, x.plan.D - first);
    for (idx_t r = 0; r < rows; r += kTileRows) {
      const idx_t m = std::min(kTileRows, rows - r);
      const TileTerm term{p + r * x.plan.score_stride, panels + first * x.keys, x.Limit(t0 + r, m)};
      TileMultiply<false>(m, n, &term, 1, x.plan.score_stride, accumulate,
                          out + r * x.plan.row + first, x.plan.row);
    }
  }
}

// ---- forward ------------------------------------------------------------------------------------

// Row t of scores -> weights relative to the maximum so far, in place; maximum, sum and what is
// summed in `output` move on. `end`: columns that are read.
inline void ForwardRow(const FullTask& x, idx_t t, idx_t end, float* row, float* max, float* sum,
                       float* output) {
  const idx_t whole = RoundUp(end, kTileLanes);
  if (t < x.blind) {  // every key weighs the same, hidden ones too
    FillRow(row, 0, whole, 0.0f);
    FillRow(row, x.keys, whole, kHiddenScore);
  } else {
    HideScores(x, t, whole, row);
  }
  const float rise = std::max(*max, MaxRow(row, whole));
  if (rise == kHiddenScore) {  // nothing visible yet
    FillRow(row, 0, whole, 0.0f);
    return;
  }
  if (rise != *max) {
    const float factor = std::exp(*max - rise);
    *sum *= factor;
    RescaleRow(output, x.plan.row, factor);
    *max = rise;
  }
  *sum += ExpRow(row, whole, rise);
  if (x.plan.dropout.active()) {
    ApplyDropoutRow(x.plan.dropout, x.DropoutElement(t), row, end);
  }
}

// One key block for query rows [r, r + rows) of the run that begins at token `begin`.
inline void ForwardBlock(const FullTask& x, idx_t begin, idx_t r, idx_t rows) {
  const FullScratch& s = x.scratch;
  const idx_t t0 = begin + r, row = x.plan.row;
  BlockScores(x, t0, rows, s.queries + r * row, s.key_panels, s.scores);
  for (idx_t i = 0; i < rows; i += kTileRows) {
    const idx_t m = std::min(kTileRows, rows - i);
    const idx_t limit = x.Limit(t0 + i, m);
    if (limit == 0) continue;
    for (idx_t l = i; l < i + m; ++l) {
      ForwardRow(x, t0 + l, limit, s.scores + l * x.plan.score_stride, s.max + r + l, s.sum + r + l,
                 s.output + (r + l) * row);
    }
  }
  BlockProduct(x, t0, rows, s.scores, s.value_panels, true, s.output + r * row);
}

// out = output / sum, and what the backward needs.
inline void FinishForward(const FullTask& x, idx_t begin, idx_t rows) {
  for (idx_t r = 0; r < rows; ++r) {
    const float max = x.scratch.max[r], sum = x.scratch.sum[r];
    ScaleRow(x.scratch.output + r * x.plan.row, 1.0f / sum, &x.args.out(x.b, x.h, begin + r, 0),
             x.plan.D);
    if (x.plan.shared) {
      x.args.max(x.b, x.h, begin + r) = max;
      x.args.sum(x.b, x.h, begin + r) = sum;
    } else {
      x.args.lse(x.b, x.h, begin + r) = max + std::log(sum);
    }
  }
}

// Forward of one task: a run of query rows of one head, all keys that they see. Long runs first
// when causal: the last task to start is a short one.
inline void FullForwardTask(const FullArguments& args, const FullScratch& s, idx_t task) {
  const FullPlan& plan = args.plan;
  const idx_t heads = plan.B * plan.H;
  FullTask x(args, s, task % heads);
  const idx_t begin = (plan.runs - 1 - task / heads) * plan.run;
  const idx_t rows = std::min(plan.run, plan.T - begin);
  for (idx_t r = 0; r < rows; ++r) {
    ScaleRow(&args.q(x.b, x.h, begin + r, 0), plan.query_scale, s.queries + r * plan.row, plan.D);
  }
  std::fill_n(s.output, rows * plan.row, 0.0f);
  std::fill_n(s.max, rows, kHiddenScore);
  std::fill_n(s.sum, rows, 0.0f);
  for (idx_t first = 0; first < plan.T; first += plan.keys) {
    MoveToBlock(x, first, std::min(plan.keys, plan.T - first));
    if (!x.Matters(begin, begin + rows)) continue;
    idx_t stride = 0;
    const float* k = KeyRows(x, &stride);
    PackTransposedPanels(k, stride, x.keys, plan.D, 1.0f, s.key_panels);
    PackPanels(&args.v(x.b, x.h, first, 0), args.v.stride[2], x.keys, plan.D, s.value_panels);
    for (idx_t r = 0; r < rows; r += plan.block) {
      const idx_t m = std::min(plan.block, rows - r);
      if (x.Matters(begin + r, begin + r + m)) ForwardBlock(x, begin, r, m);
    }
  }
  FinishForward(x, begin, rows);
}

// ---- backward -----------------------------------------------------------------------------------

// Row t: scores := weights after dropout, dscores := gradient of the scores. `limit`: columns of
// the tile that were computed; beyond them both become zero, for tiles across the rows.
inline void BackwardRow(const FullTask& x, idx_t t, idx_t limit, float* row, float* drow) {
  const idx_t end = RoundUp(limit, kTileLanes);
  const bool blind = t < x.blind, drops = x.plan.dropout.active();
  if (drops) {
    // out = (p f) v: dp = f (dout . v), and dv sees p f.
    DropoutFactors(x.plan.dropout, x.DropoutElement(t), limit, x.scratch.factors);
    MultiplyRow(x.scratch.factors, drow, limit);
  }
  if (blind) {  // the weights are constants
    FillRow(row, 0, end, 1.0f / static_cast<float>(x.plan.T));
    FillRow(row, x.keys, end, 0.0f);
    FillRow(drow, 0, end, 0.0f);
  } else {
    HideScores(x, t, end, row);
    // The sum of p dp = dout . out.
    const float delta = DotRow(&x.args.dout(x.b, x.h, t, 0), &x.args.out(x.b, x.h, t, 0), x.plan.D);
    if (x.plan.shared) {
      const float max = x.args.max(x.b, x.h, t);
      SharedSoftmaxBackwardRow(row, drow, end, max, 1.0f / x.args.sum(x.b, x.h, t), delta,
                               max == kSelfScore);
    } else {  // the scale is in the queries
      SoftmaxBackwardRow(row, drow, end, x.args.lse(x.b, x.h, t), delta, 1.0f);
    }
    if (x.HoldsSelf(t)) drow[t - x.first] = 0.0f;  // kSelfScore is a constant
  }
  if (drops) MultiplyRow(x.scratch.factors, row, limit);
  FillRow(row, end, x.plan.columns, 0.0f);
  FillRow(drow, end, x.plan.columns, 0.0f);
}

// gradient (keys, row) += weights^T B, the rows of B (rows, D) in panels.
inline void BlockTransposedProduct(const FullTask& x, idx_t t0, idx_t rows, const float* weights,
                                   const float* panels, float* gradient) {
  const idx_t stride = x.plan.score_stride;
  for (idx_t first = 0; first < x.plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, x.plan.D - first);
    for (idx_t j = 0; j < x.keys; j += kTileRows) {
      // Causal: rows of the block before key j have zero weights.
      idx_t r = 0;
      if (x.plan.causal && t0 >= x.blind) r = std::max<idx_t>(x.first + j - t0, 0);
      if (r >= rows) break;
      const TileTerm term{weights + r * stride + j, panels + first * rows + r * kPanel, rows - r};
      TileMultiply<true>(std::min(kTileRows, x.keys - j), n, &term, 1, stride, true,
                         gradient + j * x.plan.row + first, x.plan.row);
    }
  }
}

// One key block for one block of query rows: dq goes to the caller, dk and dv to scratch.
inline void BackwardBlock(const FullTask& x, idx_t t0, idx_t rows) {
  const FullScratch& s = x.scratch;
  const FullPlan& plan = x.plan;
  for (idx_t r = 0; r < rows; ++r) {
    ScaleRow(&x.args.q(x.b, x.h, t0 + r, 0), plan.query_scale, s.queries + r * plan.row, plan.D);
    ScaleRow(&x.args.dout(x.b, x.h, t0 + r, 0), 1.0f, s.douts + r * plan.row, plan.D);
  }
  // scores = scale q k^T;  dscores = d loss / d weights = dout v^T
  BlockScores(x, t0, rows, s.queries, s.key_panels, s.scores);
  BlockScores(x, t0, rows, s.douts, s.value_panels, s.dscores);
  for (idx_t r = 0; r < rows; r += kTileRows) {
    const idx_t m = std::min(kTileRows, rows - r);
    const idx_t limit = x.Limit(t0 + r, m);
    for (idx_t l = r; l < r + m; ++l) {
      BackwardRow(x, t0 + l, limit, s.scores + l * plan.score_stride,
                  s.dscores + l * plan.score_stride);
    }
  }
  // scores = (scale q) k^T:  dq = scale dscores k, dk = dscores^T (scale q)
  BlockProduct(x, t0, rows, s.dscores, s.key_rows, false, s.output);
  for (idx_t r = 0; r < rows; ++r) {
    AddScaledRow(s.output + r * plan.row, plan.query_scale, &x.args.dq(x.b, x.h, t0 + r, 0),
                 plan.D);
  }
  PackPanels(s.queries, plan.row, rows, plan.D, s.query_panels);
  BlockTransposedProduct(x, t0, rows, s.dscores, s.query_panels, s.dk);
  // out = weights v:  dv = weights^T dout
  PackPanels(s.douts, plan.row, rows, plan.D, s.dout_panels);
  BlockTransposedProduct(x, t0, rows, s.scores, s.dout_panels, s.dv);
}

// Adds dk and dv of the key block to the caller's.
inline void AddKeyGradients(const FullTask& x) {
  for (idx_t j = 0; j < x.keys; ++j) {
    const idx_t t = x.first + j;
    const float* dk = x.scratch.dk + j * x.plan.row;
    float* to = &x.args.dk(x.b, x.h, t, 0);
    AddRow(x.scratch.dv + j * x.plan.row, &x.args.dv(x.b, x.h, t, 0), x.plan.D);
    if (x.plan.shared) {
      SharedKeyBackward(&x.args.k(x.b, x.h, t, 0), dk, x.plan.D, to);
    } else {
      AddRow(dk, to, x.plan.D);
    }
  }
}

// All that the keys of one group and the queries of another give each other.
inline void BackwardGroups(FullTask& x, idx_t key_group, idx_t query_group) {
  const FullPlan& plan = x.plan;
  const FullScratch& s = x.scratch;
  const idx_t end = plan.GroupEnd(query_group), last = plan.GroupEnd(key_group);
  for (idx_t first = plan.GroupBegin(key_group); first < last; first += plan.keys) {
    idx_t begin = plan.GroupBegin(query_group);
    if (plan.causal && begin >= x.blind) begin = std::max(begin, first);
    if (begin >= end) continue;
    MoveToBlock(x, first, std::min(plan.keys, last - first));
    if (!x.Matters(begin, end)) continue;
    idx_t stride = 0;
    const float* k = KeyRows(x, &stride);
    const auto& v = x.args.v;
    PackTransposedPanels(k, stride, x.keys, plan.D, 1.0f, s.key_panels);
    PackTransposedPanels(&v(x.b, x.h, first, 0), v.stride[2], x.keys, plan.D, 1.0f, s.value_panels);
    PackPanels(k, stride, x.keys, plan.D, s.key_rows);
    std::fill_n(s.dk, plan.columns * plan.row, 0.0f);
    std::fill_n(s.dv, plan.columns * plan.row, 0.0f);
    for (idx_t t0 = begin; t0 < end; t0 += plan.block) {
      const idx_t rows = std::min(plan.block, end - t0);
      if (x.Matters(t0, t0 + rows)) BackwardBlock(x, t0, rows);
    }
    AddKeyGradients(x);
  }
}

// Backward of one task: two groups of one head, each the other's keys; in wave 0 one group and
// itself. No other task of the wave touches their gradients.
inline void FullBackwardTask(const FullArguments& args, const FullScratch& scratch, idx_t wave,
                             idx_t task) {
  const FullPlan& plan = args.plan;
  const idx_t pairs = plan.PairsOfWave(wave);
  FullTask x(args, scratch, task / pairs);
  const FullPlan::Pair pair = plan.PairOf(wave, task % pairs);
  if (pair.high == plan.groups) return;  // a bye
  BackwardGroups(x, pair.low, pair.high);
  if (pair.low != pair.high) BackwardGroups(x, pair.high, pair.low);  // nothing when causal
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_FULL_ATTENTION_INL_H_
