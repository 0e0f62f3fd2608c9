// Backward of a block of query rows and the packed keys that it meets (row_block-inl.h has the
// forward and the pieces that both are made of).
//
//   q, dout rows of D floats or bf16, any stride; dq, dk, dv rows of D floats.
// Work: 10 D flop per query and visible key. Of a block scores and their gradients lie in scratch.
// Route: keys -> panels, both ways; queries and dout -> gathered rows; scores, weights from lse,
// gradients of the scores; dq to the caller's rows, dk and dv to sums beside the packed keys.
// Edges: a row weighs 0 in every column that its tile reads and it does not see.

// Included once for every target.
#if defined(LONGSPAN_OPS_WINDOW_ROW_BLOCK_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_WINDOW_ROW_BLOCK_BACKWARD_INL_H_
#undef LONGSPAN_OPS_WINDOW_ROW_BLOCK_BACKWARD_INL_H_
#else
#define LONGSPAN_OPS_WINDOW_ROW_BLOCK_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "ops/window_attention/row_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// Row r: scores := weights after dropout, dscores := gradient of the scores; zeros in all columns
// of the part that the row does not see.
template <class Terms>
void BackwardRow(const RowBlock& x, idx_t r, float* row, float* drow) {
  const KeyPart& part = x.parts[0];
  const idx_t query = x.first + r;
  Columns columns = RowColumns(part, r);
  if (!x.takes_part[r]) columns = {0, 0};
  if (columns.begin < columns.end) {
    const idx_t begin = part.Column(part.low[r]), n = part.high[r] - part.low[r];
    const bool drops = x.plan.dropout.active();
    if (drops) {
      // out = (p f) v: dp = f (dout . v), and dv sees p f.
      DropoutFactors(x.plan.dropout, x.DropoutElement(part, r, part.low[r]), n, x.scratch.factors);
      MultiplyRow(x.scratch.factors, drow + begin, n);
    }
    HideColumns(part, r, columns, row);
    // The sum of p dp = dout . out. The scale is in the queries, and so is the unit.
    const float delta = DotRow(x.queries.dout(query), x.queries.out(query), x.plan.D);
    SoftmaxBackwardRow<ScoresOf<Terms>>(row + columns.begin, drow + columns.begin,
                                        columns.end - columns.begin, *x.queries.lse(query), delta,
                                        ScoresOf<Terms>::kUnit);
    if (drops) MultiplyRow(x.scratch.factors, row + begin, n);
  }
  const Columns read = ReadColumns(part, 0, x.rows);
  ClearColumns<F32Terms>(read, columns, row);
  ClearColumns<F32Terms>(read, columns, drow);
}

// The block and its only part: dq goes to the list's rows, dk and dv to the packed keys'.
template <class Terms>
void BackwardBlock(RowBlock& x) {
  FindHidden(x);
  const RowScratch& s = x.scratch;
  const BlockPlan& plan = x.plan;
  const KeyPart& part = x.parts[0];
  const PackedKeys& packed = *part.packed;
  GatherQueries<Terms>(x, x.queries.q, QueryFactor<Terms>(plan), s.queries);
  GatherQueries<Terms>(x, x.queries.dout, 1.0f, s.douts);
  // scores = factor q k^T;  dscores = d loss / d weights = dout v^T
  BlockScores<Terms>(x, part, s.queries, packed.key_panels, s.scores);
  BlockScores<Terms>(x, part, s.douts, packed.value_panels, s.dscores);
  for (idx_t r = 0; r < x.rows; ++r) {
    BackwardRow<Terms>(x, r, s.scores + r * plan.score_stride, s.dscores + r * plan.score_stride);
  }
  const Columns read = ReadColumns(part, 0, x.rows);
  RoundBlock<Terms>(s.scores, s.dscores, x.rows, plan.score_stride, read.begin, read.end, s.pairs);
  // scores = (factor q) k^T:  dq = factor dscores k, dk = dscores^T (factor q)
  std::fill_n(s.output, x.rows * plan.row, 0.0f);
  BlockProduct<Terms>(x, part, Terms::kWidth == 2 ? s.pairs : s.dscores,
                      plan.score_stride / Terms::kWidth, packed.key_rows, nullptr, s.output);
  for (idx_t r = 0; r < x.rows; ++r) {
    if (!x.takes_part[r]) continue;
    AddScaledRow(s.output + r * plan.row, QueryFactor<Terms>(plan), x.queries.dq(x.first + r),
                 plan.D);
  }
  const idx_t panel_rows = TermCount<Terms>(x.rows), stride = plan.row / Terms::kWidth;
  PackRows<Terms>(s.queries, stride, x.rows, plan.D, panel_rows, s.query_panels);
  BlockTransposedProduct<Terms>(x, part, s.dscores, s.query_panels, packed.dk);
  // out = weights v:  dv = weights^T dout
  PackRows<Terms>(s.douts, stride, x.rows, plan.D, panel_rows, s.dout_panels);
  BlockTransposedProduct<Terms>(x, part, s.scores, s.dout_panels, packed.dv);
}

// What comes behind the products of the block's scores: its dq, the next block's rows, and behind
// the last block the sums of these keys' gradients and the keys that usually follow.
inline void AddBackwardRows(RowBlock& x, const KeyRows& keys, const PackedKeys& packed,
                            idx_t last) {
  const QueryRows& queries = x.queries;
  const idx_t D = x.plan.D, next = x.first + x.rows, end = std::min(last, next + x.plan.rows);
  x.coming.Clear();
  AddRows(queries.dq, x.first, next, D, &x.coming);
  if (next < last) {
    AddRows(queries.q, next, end, D, &x.coming);
    AddRows(queries.dout, next, end, D, &x.coming);
    AddRows(queries.out, next, end, D, &x.coming);
  } else {
    AddRows(keys.dk, packed.begin, packed.end, D, &x.coming);
    AddRows(keys.dv, packed.begin, packed.end, D, &x.coming);
    const idx_t after = std::min(keys.count, packed.end + packed.ring);
    AddRows(keys.k, packed.end, after, D, &x.coming);
    AddRows(keys.v, packed.end, after, D, &x.coming);
  }
}

// Keys [begin, end), at most a ring of them, with queries [first, last): dq is added to the list's
// rows, dk and dv to the packed keys'. The keys are packed, and their gradients zeroed, when the
// first block needs them: returns whether one did.
template <class Terms>
bool BackwardOverQueries(RowBlock& x, const KeyRows& keys, PackedKeys& packed, idx_t begin,
                         idx_t end, idx_t first, idx_t last) {
  bool packs = true;
  for (idx_t i = first; i < last; i += x.plan.rows) {
    EnterBlock(x, i, std::min(x.plan.rows, last - i));
    packed.begin = begin;
    packed.end = end;
    if (x.any) AddPart(x, keys, packed);
    if (x.count == 0) continue;
    if (packs) {
      PackKeys<Terms>(x.plan, keys, packed, begin, end, true);
      std::fill_n(packed.dk, (end - begin) * x.plan.row, 0.0f);
      std::fill_n(packed.dv, (end - begin) * x.plan.row, 0.0f);
    }
    packs = false;
    AddBackwardRows(x, keys, packed, last);
    BackwardBlock<Terms>(x);
  }
  return !packs;
}

// Adds dk and dv of the packed keys to the list's rows. Hidden keys get none.
inline void AddKeyGradients(const BlockPlan& plan, const KeyRows& keys, const PackedKeys& packed) {
  for (idx_t j = packed.begin; j < packed.end; ++j) {
    const idx_t at = j - packed.begin;
    if (packed.visible[at] == 0.0f) continue;
    AddRow(packed.dk + at * plan.row, keys.dk(j), plan.D);
    AddRow(packed.dv + at * plan.row, keys.dv(j), plan.D);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_WINDOW_ROW_BLOCK_BACKWARD_INL_H_
