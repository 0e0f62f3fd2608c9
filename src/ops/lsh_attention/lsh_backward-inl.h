// LSH attention, backward: the weights are computed again, block by block.
//   10 D flop per query and key of its window, 4 D of them recomputed scores.
// Scores are factor_j (x_t . x_j). With ds' = factor_j d loss / d score, without a unit, the
// products need x as it is: dq += ds' x, and g = ds'^T x is factor_j times the gradient of the key,
// so that
//   dx_j += g - x_j factor_j^2 (g . x_j),
// which is linear in g: each round's part is applied as it comes.

// Included once for every target.
#if defined(LONGSPAN_OPS_LSH_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_LSH_BACKWARD_INL_H_
#undef LONGSPAN_OPS_LSH_BACKWARD_INL_H_
#else
#define LONGSPAN_OPS_LSH_BACKWARD_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>

#include "ops/lsh_attention/lsh_task-inl.h"
#include "simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What is known of tokens [begin, end) of a head of the group.
inline void LshBeginBackward(const LshArguments& args, idx_t head, idx_t begin, idx_t end) {
  const idx_t b = args.Batch(head), h = args.Head(head), D = args.plan.D;
  for (idx_t t = begin; t < end; ++t) {
    const InRow x = args.qk(b, h, t);
    const float delta =
        args.delta.empty() ? DotRow(args.dout(b, h, t), args.out(b, h, t), D) : args.delta(b, h, t);
    args.Token(head, t) = {DotRow(x, x, D), args.max(b, h, t), args.sum(b, h, t), delta};
  }
}

// Part i of row r of the block: scores := weights, dscores := ds'. kSmall: as in the forward.
template <bool kSmall, LshHides kHides>
HWY_INLINE void SoftmaxBackwardPart(const LshTask& x, idx_t i, idx_t r, float* HWY_RESTRICT row,
                                    float* HWY_RESTRICT drow) {
  constexpr float kUnit = FloatScores::kUnit;
  const TileTag d;
  const hn::RebindToSigned<TileTag> di;
  const LshToken& token = x.args.Token(x.head, x.Token(r));
  const LshColumns columns = ColumnsOf(x, i);
  const auto query = hn::Set(di, static_cast<std::int32_t>(x.Token(r)));
  const auto shift = hn::Set(d, token.max * FloatScores::kPerUnit);
  const auto inverse = hn::Set(d, 1.0f / token.sum);
  const auto unit = hn::Set(d, kUnit), delta = hn::Set(d, token.delta * kUnit);
  for (idx_t j = 0; j < x.plan.columns; j += kTileLanes) {
    const auto factor = hn::LoadU(d, columns.factor + j);
    const auto s = hn::MulSub(hn::LoadU(d, row + j), factor, shift);
    const auto e = kSmall ? FloatScores::ExpSmall(d, s) : FloatScores::Exp(d, s);
    const auto p = Shown<kHides>(columns, j, query, hn::Mul(e, inverse));
    const auto centred = hn::MulSub(hn::LoadU(d, drow + j), unit, delta);
    const auto ds = Shown<kHides>(columns, j, query, hn::Mul(hn::Mul(p, factor), centred));
    hn::StoreU(p, d, row + j);
    hn::StoreU(ds, d, drow + j);
  }
}

template <bool kSmall>
void SoftmaxBackwardRow(const LshTask& x, idx_t r, float* row, float* drow) {
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    const idx_t at = i * x.plan.columns;
    WithHides(x.scratch.part_hides[i], [&]<LshHides kHides>() HWY_ATTR {
      SoftmaxBackwardPart<kSmall, kHides>(x, i, r, row + at, drow + at);
    });
  }
}

// The same with dropout: weights are those that dv sees.
inline void BackwardRow(const LshTask& x, idx_t r, float* row, float* drow) {
  const idx_t t = x.Token(r), n = x.plan.parts * x.plan.columns;
  const bool drops = x.plan.dropout.active();
  const LshToken& token = x.args.Token(x.head, t);
  if (token.max == kSelfScore) {  // it sees nobody: its score is a constant
    WeighItself(x, static_cast<std::int32_t>(t), row);
    ScaleRow(row, 1.0f / token.sum, row, n);
    std::fill_n(drow, n, 0.0f);
  } else {
    if (drops) DropBlockRow(x, r, drow);  // out = (p f) v: dp = f (dout . v)
    const bool small = x.Length(r) <= kLongestBound;
    small ? SoftmaxBackwardRow<true>(x, r, row, drow) : SoftmaxBackwardRow<false>(x, r, row, drow);
  }
  if (drops) DropBlockRow(x, r, row);
}

// gradient (keys, row) of each part's slot += weights^T rows, the rows of the block in panels of
// `panel_rows`. As pairs, weights lie across two rows in the place of the first.
template <class Terms>
void BlockTransposedProduct(const LshTask& x, const float* weights, const float* panels,
                            idx_t panel_rows, float* gradient) {
  const idx_t stride = x.plan.score_stride;
  for (idx_t i = 0; i < x.plan.parts; ++i) {
    const idx_t keys = x.scratch.part_keys[i];
    float* out = gradient + x.scratch.part_slot[i] * x.GradientFloats();
    for (idx_t first = 0; first < x.plan.D; first += kPanel) {
      for (idx_t j = 0; j < keys; j += kTileRows) {
        const TileTerm term{weights + i * x.plan.columns + j, panels + first * panel_rows,
                            TermCount<Terms>(x.block_rows)};
        TileMultiply<true, Terms>(std::min(kTileRows, keys - j), std::min(kPanel, x.plan.D - first),
                                  &term, 1, Terms::kWidth * stride, true,
                                  out + j * x.plan.row + first, x.plan.row, x.prefetch);
      }
    }
  }
}

// Backward of one block of query rows.
template <class Terms>
void BackwardBlock(const LshTask& x) {
  const LshScratch& s = x.scratch;
  const LshPlan& plan = x.plan;
  const idx_t stride = plan.row / Terms::kWidth, block_terms = TermCount<Terms>(x.block_rows);
  GatherRows<Terms>(x, x.args.dout, x.Tokens(x.slot) + x.block, x.block_rows, s.dout_rows);
  // scores = x x^T, before the keys' factors;  dscores = d loss / d weights = dout v^T
  BlockScores<Terms>(x, Queries<Terms>(x), s.key_panels, s.scores);
  BlockScores<Terms>(x, s.dout_rows, s.value_panels, s.dscores);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    BackwardRow(x, r, s.scores + r * plan.score_stride, s.dscores + r * plan.score_stride);
  }
  RoundBlock<Terms>(s.scores, s.dscores, x.block_rows, plan.score_stride, 0,
                    plan.parts * plan.columns, s.pairs);
  // dq = ds' x
  BlockProduct<Terms>(x, Terms::kWidth == 2 ? s.pairs : s.dscores,
                      plan.score_stride / Terms::kWidth, s.key_rows, s.output);
  for (idx_t r = 0; r < x.block_rows; ++r) {
    AddRow(s.output + r * plan.row, &x.args.gradients.dqk(x.b, x.h, x.Token(r), 0), plan.D);
  }
  // g = ds'^T x: the block's queries are rows of the chunk's own panels of keys
  BlockTransposedProduct<Terms>(
      x, s.dscores, s.key_rows + x.slot * x.RowFloats() + x.block / Terms::kWidth * kPanel,
      TermCount<Terms>(x.rows), s.dkeys);
  // out = weights v:  dv = weights^T dout
  PackRows<Terms>(s.dout_rows, stride, x.block_rows, plan.D, block_terms, s.dout_panels);
  BlockTransposedProduct<Terms>(x, s.scores, s.dout_panels, block_terms, s.dv);
}

// Adds g and dv (keys, row) of a chunk's keys to the gradients of its tokens.
inline void ScatterGradients(const LshArguments& args, idx_t head, idx_t c, const float* dkeys,
                             const float* dv) {
  const LshPlan& plan = args.plan;
  const idx_t b = args.Batch(head), h = args.Head(head);
  const std::int32_t* tokens = args.Tokens(head, c);
  for (idx_t j = 0; j < plan.Keys(c); ++j) {
    const idx_t t = tokens[j];
    AddKeyGradient(args.qk(b, h, t), dkeys + j * plan.row, args.Token(head, t).square, plan.D,
                   &args.gradients.dqk(b, h, t, 0));
    AddRow(dv + j * plan.row, &args.gradients.dv(b, h, t, 0), plan.D);
  }
}

// Adds the gradients of a ring slot's keys to the caller's, when this task owns the chunk, else
// leaves them in the task's side buffer.
inline void RetireSlot(const LshTask& x, idx_t slot) {
  const LshPlan& plan = x.plan;
  const idx_t unwrapped = x.scratch.tag[slot];
  if (unwrapped == LshScratch::kEmpty) return;
  const float* dkeys = x.scratch.dkeys + slot * x.GradientFloats();
  const float* dv = x.scratch.dv + slot * x.GradientFloats();
  const idx_t c = plan.Wrap(unwrapped);
  if (x.first <= c && c < x.last) {
    ScatterGradients(x.args, x.head, c, dkeys, dv);
    return;
  }
  const idx_t halo =
      unwrapped < x.first ? unwrapped - (x.first - plan.before) : unwrapped - x.last + plan.before;
  const idx_t floats = plan.Keys(c) * plan.row;
  std::copy_n(dkeys, floats, x.args.Side(x.task, halo, 0));
  std::copy_n(dv, floats, x.args.Side(x.task, halo, 1));
  x.args.side_used[x.task * plan.halo + halo] = 1;
}

// A chunk into its slot, whose earlier chunk is done.
template <class Terms>
void FetchForBackward(const LshTask& x, idx_t unwrapped, idx_t c, idx_t slot) {
  const LshScratch& s = x.scratch;
  const LshPlan& plan = x.plan;
  const idx_t keys = plan.Keys(c), stride = plan.row / Terms::kWidth;
  RetireSlot(x, slot);
  s.tag[slot] = unwrapped;
  FetchTokens(x, c, slot);
  FetchKeys<Terms>(x, keys, slot);
  PackRows<Terms>(s.rows + slot * plan.chunk * stride, stride, keys, plan.D, TermCount<Terms>(keys),
                  s.key_rows + slot * x.RowFloats());
  GatherRows<Terms>(x, x.args.v, x.Tokens(slot), keys, s.gathered);
  PackTransposedPanels(s.gathered, stride, keys, TermCount<Terms>(plan.D), Unchanged(),
                       s.value_panels + slot * x.KeyFloats());
  std::fill_n(s.dkeys + slot * x.GradientFloats(), x.GradientFloats(), 0.0f);
  std::fill_n(s.dv + slot * x.GradientFloats(), x.GradientFloats(), 0.0f);
}

// Backward of one task of a phase: everything of its own chunks' tokens, its halo on the side.
template <class Terms>
void LshBackwardWalk(const LshArguments& args, const LshScratch& scratch, idx_t phase, idx_t task) {
  RowPrefetcher prefetch;
  LshTask x(args, scratch, prefetch, phase, task);
  const LshPlan& plan = args.plan;
  std::fill_n(scratch.tag, plan.ring, LshScratch::kEmpty);
  if (plan.halo > 0) std::fill_n(args.side_used + task * plan.halo, plan.halo, std::uint8_t{0});
  const auto fetch = [&x](idx_t unwrapped, idx_t c, idx_t slot)
                         HWY_ATTR { FetchForBackward<Terms>(x, unwrapped, c, slot); };
  for (idx_t c = x.first; c < x.last; ++c) {
    EnterChunk(x, c, fetch);
    PrefetchChunk(x, c, InView(args.gradients.dqk));
    if (const idx_t next = NextFetched(x); next >= 0) {
      PrefetchTokens(x, next);
      PrefetchChunk(x, next, args.qk);
      PrefetchChunk(x, next, args.v);
    }
    if (c + 1 < x.last) PrefetchChunk(x, c + 1, args.dout);
    PrefetchChunk(x, c, InView(args.gradients.dv));
    for (x.block = 0; x.block < x.rows; x.block += plan.block) {
      x.block_rows = std::min(plan.block, x.rows - x.block);
      BackwardBlock<Terms>(x);
    }
  }
  for (idx_t slot = 0; slot < plan.ring; ++slot) RetireSlot(x, slot);
}

inline void LshBackwardTask(const LshArguments& args, const LshScratch& scratch, idx_t phase,
                            idx_t task) {
  LshBackwardWalk<F32Terms>(args, scratch, phase, task);
}
inline void LshBackwardPairs(const LshArguments& args, const LshScratch& scratch, idx_t phase,
                             idx_t task) {
  LshBackwardWalk<HalfTerms>(args, scratch, phase, task);
}

// After a phase's tasks: adds what the runs left on the side, in the order of runs. First what
// belongs to the phase's own round, task by task: every such chunk has one owner.
inline void LshSideTask(const LshArguments& args, idx_t phase, idx_t task) {
  const LshPlan& plan = args.plan;
  const idx_t run = task % plan.runs, head = task / plan.runs;
  const idx_t first = plan.FirstChunk(phase, run), last = plan.LastChunk(phase, run);
  for (idx_t other = head * plan.runs; other < (head + 1) * plan.runs; ++other) {
    for (idx_t slot = 0; slot < plan.halo; ++slot) {
      const idx_t c = plan.Wrap(plan.HaloChunk(phase, other % plan.runs, slot));
      if (c < first || c >= last || args.side_used[other * plan.halo + slot] == 0) continue;
      ScatterGradients(args, head, c, args.Side(other, slot, 0), args.Side(other, slot, 1));
    }
  }
}

// Then what belongs to neighbouring rounds, whose tokens are the same ones: one task per head.
inline void LshOtherRoundsTask(const LshArguments& args, idx_t phase, idx_t head) {
  const LshPlan& plan = args.plan;
  for (idx_t task = head * plan.runs; task < (head + 1) * plan.runs; ++task) {
    for (idx_t slot = 0; slot < plan.halo; ++slot) {
      const idx_t c = plan.Wrap(plan.HaloChunk(phase, task % plan.runs, slot));
      if (plan.Round(c) == phase || args.side_used[task * plan.halo + slot] == 0) continue;
      ScatterGradients(args, head, c, args.Side(task, slot, 0), args.Side(task, slot, 1));
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_LSH_BACKWARD_INL_H_
