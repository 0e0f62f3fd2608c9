// Full attention, one task: a run of query rows forward, a pair of token groups backward.
//
//   q, k, v, out (T, D) of one head, fp32 or bf16, any row stride; lse, or max and sum (T).
// Terms: what products multiply, floats or pairs of bf16 (simd/bf16-inl.h).
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
#include "simd/bf16-inl.h"
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
  float norms = 0.0f;   // forward, floats: no squared norm of a key is larger

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

  idx_t DropoutElement(idx_t t) const {
    return (plan.drawn.Head(b, h, plan.H) * plan.T + t) * plan.T + first;
  }
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

// Rows of the block's keys and their stride: the caller's; in scratch if they are gathered bf16 or,
// in the shared form, normalised.
template <class Terms>
const float* KeyRows(const FullTask& x, idx_t* stride) {
  if (!x.plan.shared) {
    return RowsOf<Terms>(x.args.k, x.b, x.h, x.first, x.keys, 1.0f, x.plan.row, x.scratch.keys,
                         stride);
  }
  for (idx_t j = 0; j < x.keys; ++j) {
    SharedKey(x.args.k(x.b, x.h, x.first + j), x.plan.D, x.scratch.keys + j * x.plan.row);
  }
  *stride = x.plan.row;
  return x.scratch.keys;
}
template <class Terms>
const float* ValueRows(const FullTask& x, idx_t* stride) {
  return RowsOf<Terms>(x.args.v, x.b, x.h, x.first, x.keys, 1.0f, x.plan.row, x.scratch.keys,
                       stride);
}

// ---- pieces of a block of query rows ------------------------------------------------------------
// A block is queries [t0, t0 + rows), rows <= plan.block.

// out (rows, score_stride) = a (rows, row) times the panels of the key block.
template <class Terms>
void BlockScores(const FullTask& x, idx_t t0, idx_t rows, const float* a, const float* panels,
                 float* out) {
  const idx_t stride = x.plan.row / Terms::kWidth, terms = TermCount<Terms>(x.plan.D);
  for (idx_t first = 0; first < x.keys; first += kPanel, panels += terms * kPanel) {
    for (idx_t r = 0; r < rows; r += kTileRows) {
      const idx_t m = std::min(kTileRows, rows - r);
      const idx_t n = std::min(kPanel, x.Limit(t0 + r, m) - first);
      if (n <= 0) continue;
      const TileTerm term{a + r * stride, panels, terms};
      TileMultiply<false, Terms>(m, n, &term, 1, stride, false,
                                 out + r * x.plan.score_stride + first, x.plan.score_stride);
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

// out (rows, row) = or += P B; P (rows, lda), B (keys, D) in panels.
template <class Terms>
void BlockProduct(const FullTask& x, idx_t t0, idx_t rows, const float* p, idx_t lda,
                  const float* panels, bool accumulate, float* out) {
  for (idx_t first = 0; first < x.plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, x.plan.D - first);
    for (idx_t r = 0; r < rows; r += kTileRows) {
      const idx_t m = std::min(kTileRows, rows - r);
      const TileTerm term{p + r * lda, panels + first * TermCount<Terms>(x.keys),
                          TermCount<Terms>(x.Limit(t0 + r, m))};
      TileMultiply<false, Terms>(m, n, &term, 1, lda, accumulate, out + r * x.plan.row + first,
                                 x.plan.row);
    }
  }
}

// Shared keys are in no unit: kSelfScore stands among their scores.
template <class Terms>
float QueryFactor(const FullPlan& plan) {
  return plan.shared ? 1.0f : plan.query_scale * ScoresOf<Terms>::kPerUnit;
}

// ---- forward ------------------------------------------------------------------------------------

// Columns [0, n) of a row of scores := weights relative to `rise`; returns their sum. `plain`: no
// score is hidden or larger than kSafeScore, and rise is 0.
template <class Terms, class Scores>
float WeighColumns(float* row, idx_t n, float rise, bool plain) {
  if (Scores::kSmallIsCheaper && plain) return ExpSmallRow<Scores>(row, n);
  return ExpColumns<Terms, Scores>(row, 0, n, rise);
}

// Row t of scores -> weights relative to the maximum so far, or to 0 where scores are small, in
// place; what they are relative to, sum and what is summed in `output` move on. `end`: columns that
// are read.
template <class Terms, class Scores>
void ForwardRow(const FullTask& x, idx_t t, idx_t end, bool small, float* row, float* max,
                float* sum, float* output) {
  const idx_t whole = RoundUp(end, kTileLanes);
  if (t < x.blind) {  // every key weighs the same, hidden ones too
    FillRow(row, 0, whole, 0.0f);
    FillRow(row, x.keys, whole, kHiddenScore);
  } else {
    HideScores(x, t, whole, row);
  }
  const bool shows = !x.masked && x.Limit(t) > 0;
  const float rise = std::max(*max, RowOffset<Scores>(row, whole, small, shows));
  if (rise == kHiddenScore) {  // nothing visible yet
    ClearWeights<Terms>(row, 0, whole);
    return;
  }
  MoveOffset(rise, max, sum, output, x.plan.row);
  if (!x.plan.dropout.active()) {
    const bool plain = small && rise == 0.0f && !x.masked && x.Limit(t) >= whole;
    *sum += WeighColumns<Terms, Scores>(row, whole, rise, plain);
  } else {
    *sum += ExpRow<Scores>(row, whole, rise);
    ApplyDropoutRow(x.plan.dropout, x.DropoutElement(t), row, end);
    RoundColumns<Terms>(row, 0, whole);
  }
}

// Whether no score of query rows [r, r + rows) of scratch with the key block is large.
template <class Terms>
bool ScoresAreSmall(const FullTask& x, idx_t r, idx_t rows) {
  if (Terms::kWidth == 2 || x.plan.shared) return false;
  const float* queries = x.scratch.queries + r * x.plan.row;
  const float own = SquaredNormBound(queries, x.plan.row, rows, x.plan.D);
  return NormsAreSmall<ScoresOf<Terms>>(own, x.norms);
}

// One key block for query rows [r, r + rows) of the run that begins at token `begin`.
template <class Terms>
void ForwardBlock(const FullTask& x, idx_t begin, idx_t r, idx_t rows) {
  const FullScratch& s = x.scratch;
  const idx_t t0 = begin + r, row = x.plan.row;
  BlockScores<Terms>(x, t0, rows, s.queries + r * row / Terms::kWidth, s.key_panels, s.scores);
  const bool small = ScoresAreSmall<Terms>(x, r, rows);
  for (idx_t i = 0; i < rows; i += kTileRows) {
    const idx_t m = std::min(kTileRows, rows - i);
    const idx_t limit = x.Limit(t0 + i, m);
    if (limit == 0) continue;
    for (idx_t l = i; l < i + m; ++l) {
      const auto forward =
          x.plan.shared ? ForwardRow<Terms, NaturalScores> : ForwardRow<Terms, ScoresOf<Terms>>;
      forward(x, t0 + l, limit, small, s.scores + l * x.plan.score_stride, s.max + r + l,
              s.sum + r + l, s.output + (r + l) * row);
    }
  }
  BlockProduct<Terms>(x, t0, rows, s.scores, x.plan.score_stride, s.value_panels, true,
                      s.output + r * row);
}

// out = output / sum, and what the backward needs.
inline void FinishForward(const FullTask& x, idx_t begin, idx_t rows) {
  for (idx_t r = 0; r < rows; ++r) {
    const float max = x.scratch.max[r], sum = x.scratch.sum[r];
    ScaleRow(x.scratch.output + r * x.plan.row, 1.0f / sum, x.args.out(x.b, x.h, begin + r),
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
template <class Terms>
void ForwardTask(const FullArguments& args, const FullScratch& s, idx_t task) {
  const FullPlan& plan = args.plan;
  const idx_t heads = plan.B * plan.H;
  FullTask x(args, s, task % heads);
  const idx_t begin = (plan.runs - 1 - task / heads) * plan.run;
  const idx_t rows = std::min(plan.run, plan.T - begin);
  for (idx_t r = 0; r < rows; ++r) {
    GatherRow<Terms>(args.q(x.b, x.h, begin + r), true, QueryFactor<Terms>(plan), plan.D, plan.row,
                     s.queries + r * plan.row / Terms::kWidth);
  }
  std::fill_n(s.output, rows * plan.row, 0.0f);
  std::fill_n(s.max, rows, kHiddenScore);
  std::fill_n(s.sum, rows, 0.0f);
  for (idx_t first = 0; first < plan.T; first += plan.keys) {
    MoveToBlock(x, first, std::min(plan.keys, plan.T - first));
    if (!x.Matters(begin, begin + rows)) continue;
    idx_t stride = 0;
    const float* k = KeyRows<Terms>(x, &stride);
    PackTransposedPanels(k, stride, x.keys, TermCount<Terms>(plan.D), Unchanged(), s.key_panels);
    if (Terms::kWidth == 1) x.norms = SquaredNormBound(k, stride, x.keys, plan.D);
    const float* v = ValueRows<Terms>(x, &stride);
    PackRows<Terms>(v, stride, x.keys, plan.D, TermCount<Terms>(x.keys), s.value_panels);
    for (idx_t r = 0; r < rows; r += plan.block) {
      const idx_t m = std::min(plan.block, rows - r);
      if (x.Matters(begin + r, begin + r + m)) ForwardBlock<Terms>(x, begin, r, m);
    }
  }
  FinishForward(x, begin, rows);
}

inline void FullForwardTask(const FullArguments& args, const FullScratch& s, idx_t task) {
  ForwardTask<F32Terms>(args, s, task);
}
inline void FullForwardPairs(const FullArguments& args, const FullScratch& s, idx_t task) {
  ForwardTask<HalfTerms>(args, s, task);
}

// ---- backward -----------------------------------------------------------------------------------

// Row t: scores := weights after dropout, dscores := gradient of the scores. `limit`: columns of
// the tile that were computed; beyond them both become zero, for tiles across the rows.
template <class Terms>
void BackwardRow(const FullTask& x, idx_t t, idx_t limit, float* row, float* drow) {
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
    const float delta = x.args.delta.empty()
                            ? DotRow(x.args.dout(x.b, x.h, t), x.args.out(x.b, x.h, t), x.plan.D)
                            : x.args.delta(x.b, x.h, t);
    if (x.plan.shared) {
      const float max = x.args.max(x.b, x.h, t);
      SharedSoftmaxBackwardRow(row, drow, end, max, 1.0f / x.args.sum(x.b, x.h, t), delta,
                               max == kSelfScore);
    } else {  // the scale is in the queries, and so is the unit
      SoftmaxBackwardRow<ScoresOf<Terms>>(row, drow, end, x.args.lse(x.b, x.h, t), delta,
                                          ScoresOf<Terms>::kUnit);
    }
    if (x.HoldsSelf(t)) drow[t - x.first] = 0.0f;  // kSelfScore is a constant
  }
  if (drops) MultiplyRow(x.scratch.factors, row, limit);
  FillRow(row, end, x.plan.columns, 0.0f);
  FillRow(drow, end, x.plan.columns, 0.0f);
}

// gradient (keys, row) += weights^T B, the rows of B (rows, D) in panels. As pairs, weights lie
// across two rows in the place of the first.
template <class Terms>
void BlockTransposedProduct(const FullTask& x, idx_t t0, idx_t rows, const float* weights,
                            const float* panels, float* gradient) {
  constexpr idx_t kWidth = Terms::kWidth;
  const idx_t stride = x.plan.score_stride;
  for (idx_t first = 0; first < x.plan.D; first += kPanel) {
    const idx_t n = std::min(kPanel, x.plan.D - first);
    for (idx_t j = 0; j < x.keys; j += kTileRows) {
      // Causal: rows of the block before key j have zero weights.
      idx_t r = 0;
      if (x.plan.causal && t0 >= x.blind) r = std::max<idx_t>(x.first + j - t0, 0);
      if (r >= rows) break;
      r = r / kWidth * kWidth;
      const TileTerm term{weights + r * stride + j,
                          panels + first * TermCount<Terms>(rows) + r / kWidth * kPanel,
                          TermCount<Terms>(rows - r)};
      TileMultiply<true, Terms>(std::min(kTileRows, x.keys - j), n, &term, 1, kWidth * stride, true,
                                gradient + j * x.plan.row + first, x.plan.row);
    }
  }
}

// One key block for one block of query rows: dq goes to the caller, dk and dv to scratch.
template <class Terms>
void BackwardBlock(const FullTask& x, idx_t t0, idx_t rows) {
  const FullScratch& s = x.scratch;
  const FullPlan& plan = x.plan;
  const idx_t stride = plan.row / Terms::kWidth, panel_rows = TermCount<Terms>(rows);
  for (idx_t r = 0; r < rows; ++r) {
    GatherRow<Terms>(x.args.q(x.b, x.h, t0 + r), true, QueryFactor<Terms>(plan), plan.D, plan.row,
                     s.queries + r * stride);
    GatherRow<Terms>(x.args.dout(x.b, x.h, t0 + r), true, 1.0f, plan.D, plan.row,
                     s.douts + r * stride);
  }
  // scores = factor q k^T;  dscores = d loss / d weights = dout v^T
  BlockScores<Terms>(x, t0, rows, s.queries, s.key_panels, s.scores);
  BlockScores<Terms>(x, t0, rows, s.douts, s.value_panels, s.dscores);
  for (idx_t r = 0; r < rows; r += kTileRows) {
    const idx_t m = std::min(kTileRows, rows - r);
    const idx_t limit = x.Limit(t0 + r, m);
    for (idx_t l = r; l < r + m; ++l) {
      BackwardRow<Terms>(x, t0 + l, limit, s.scores + l * plan.score_stride,
                         s.dscores + l * plan.score_stride);
    }
  }
  RoundBlock<Terms>(s.scores, s.dscores, rows, plan.score_stride, 0, plan.columns, s.pairs);
  // scores = factor q k^T:  dq = factor dscores k, dk = dscores^T (factor q)
  BlockProduct<Terms>(x, t0, rows, Terms::kWidth == 2 ? s.pairs : s.dscores,
                      plan.score_stride / Terms::kWidth, s.key_rows, false, s.output);
  for (idx_t r = 0; r < rows; ++r) {
    AddScaledRow(s.output + r * plan.row, QueryFactor<Terms>(plan), &x.args.dq(x.b, x.h, t0 + r, 0),
                 plan.D);
  }
  PackRows<Terms>(s.queries, stride, rows, plan.D, panel_rows, s.query_panels);
  BlockTransposedProduct<Terms>(x, t0, rows, s.dscores, s.query_panels, s.dk);
  // out = weights v:  dv = weights^T dout
  PackRows<Terms>(s.douts, stride, rows, plan.D, panel_rows, s.dout_panels);
  BlockTransposedProduct<Terms>(x, t0, rows, s.scores, s.dout_panels, s.dv);
}

// Adds dk and dv of the key block to the caller's.
inline void AddKeyGradients(const FullTask& x) {
  for (idx_t j = 0; j < x.keys; ++j) {
    const idx_t t = x.first + j;
    const float* dk = x.scratch.dk + j * x.plan.row;
    float* to = &x.args.dk(x.b, x.h, t, 0);
    AddRow(x.scratch.dv + j * x.plan.row, &x.args.dv(x.b, x.h, t, 0), x.plan.D);
    if (x.plan.shared) {
      const InRow query = x.args.k(x.b, x.h, t);
      float* wide = x.scratch.keys;  // free: what lay there is packed
      if (query.bf16) ScaleRow(query, 1.0f, wide, x.plan.D);
      SharedKeyBackward(query.bf16 ? wide : static_cast<const float*>(query.data), dk, x.plan.D,
                        to);
    } else {
      AddRow(dk, to, x.plan.D);
    }
  }
}

// All that the keys of one group and the queries of another give each other.
template <class Terms>
void BackwardGroups(FullTask& x, idx_t key_group, idx_t query_group) {
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
    const idx_t terms = TermCount<Terms>(plan.D);
    const float* k = KeyRows<Terms>(x, &stride);
    PackTransposedPanels(k, stride, x.keys, terms, Unchanged(), s.key_panels);
    PackRows<Terms>(k, stride, x.keys, plan.D, TermCount<Terms>(x.keys), s.key_rows);
    const float* v = ValueRows<Terms>(x, &stride);
    PackTransposedPanels(v, stride, x.keys, terms, Unchanged(), s.value_panels);
    std::fill_n(s.dk, plan.columns * plan.row, 0.0f);
    std::fill_n(s.dv, plan.columns * plan.row, 0.0f);
    for (idx_t t0 = begin; t0 < end; t0 += plan.block) {
      const idx_t rows = std::min(plan.block, end - t0);
      if (x.Matters(t0, t0 + rows)) BackwardBlock<Terms>(x, t0, rows);
    }
    AddKeyGradients(x);
  }
}

// Backward of one task: two groups of one head, each the other's keys; in wave 0 one group and
// itself. No other task of the wave touches their gradients.
template <class Terms>
void BackwardTask(const FullArguments& args, const FullScratch& scratch, idx_t wave, idx_t task) {
  const FullPlan& plan = args.plan;
  const idx_t pairs = plan.PairsOfWave(wave);
  FullTask x(args, scratch, task / pairs);
  const FullPlan::Pair pair = plan.PairOf(wave, task % pairs);
  if (pair.high == plan.groups) return;  // a bye
  BackwardGroups<Terms>(x, pair.low, pair.high);
  if (pair.low != pair.high) BackwardGroups<Terms>(x, pair.high, pair.low);  // nothing when causal
}

inline void FullBackwardTask(const FullArguments& args, const FullScratch& scratch, idx_t wave,
                             idx_t task) {
  BackwardTask<F32Terms>(args, scratch, wave, task);
}
inline void FullBackwardPairs(const FullArguments& args, const FullScratch& scratch, idx_t wave,
                              idx_t task) {
  BackwardTask<HalfTerms>(args, scratch, wave, task);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_FULL_ATTENTION_INL_H_
