// Sliding-window attention, the tasks: a run of query rows forward; backward a group of keys with
// the queries that see them, and the global keys with a part of the queries.
//
// Work: as in row_block-inl.h; window keys are packed once per run (forward) or per group and wave
// (backward). Scratch does not depend on T; forward it holds the window, if that fits.
// Edges: tokens are those of one residue modulo the head's dilation, so a window is contiguous.

// Included once for every target.
#if defined(LONGSPAN_OPS_WINDOW_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_WINDOW_ATTENTION_INL_H_
#undef LONGSPAN_OPS_WINDOW_ATTENTION_INL_H_
#else
#define LONGSPAN_OPS_WINDOW_ATTENTION_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/window_attention/row_block-inl.h"
#include "ops/window_attention/row_block_backward-inl.h"
#include "ops/window_attention/window_attention.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// ---- forward ------------------------------------------------------------------------------------

// Dropout's factor of few key j for query i.
inline float FewKeysFactor(const RowBlock& x, const KeyRows& keys, idx_t i, idx_t j) {
  if (!x.plan.dropout.active()) return 1.0f;
  const idx_t row = x.queries.head_row + x.queries.tokens(i);
  return x.plan.dropout.Factor(row * x.plan.slots + keys.Slot(i) + j);
}

// Scores of few key j, which all rows of the block see, or, causal, those behind it. `room`: a row.
template <class Terms>
void FewKeyScores(const RowBlock& x, const KeyRows& keys, idx_t j, float* room, float* scores) {
  const BlockPlan& plan = x.plan;
  GatherRow<Terms>(keys.k(j), true, 1.0f, plan.D, plan.row, room);
  DotRows<Terms>(x.scratch.queries, plan.row / Terms::kWidth, x.rows, room,
                 TermCount<Terms>(plan.D), scores);
  for (idx_t r = 0; keys.causal && r < x.rows; ++r) {
    const idx_t query = x.first + r;
    if (j >= keys.High(query, x.queries.tokens(query))) scores[r] = kHiddenScore;
  }
}

// Key j joins the softmax of rows that have met all keys before it. Row by row and without tiles:
// of a panel of keys all columns but one would be computed for nothing. `room`: a row.
template <class Terms>
void ForwardFewKey(const RowBlock& x, const KeyRows& keys, idx_t j, float* room) {
  constexpr idx_t kRows = RoundUp(BlockPlan::kRows, BlockPlan::kRowUnit);
  const TileTag d;
  const BlockPlan& plan = x.plan;
  const RowScratch& s = x.scratch;
  // Rows that take no part have any finite numbers.
  alignas(64) float score[kRows] = {}, max[kRows] = {}, sum[kRows] = {}, fade[kRows], weight[kRows];
  FewKeyScores<Terms>(x, keys, j, room, score);
  for (idx_t r = 0; r < x.rows; ++r) {
    if (!x.takes_part[r]) continue;
    max[r] = s.max[r];
    sum[r] = s.sum[r];
  }
  for (idx_t r = 0; r < x.rows; r += kTileLanes) {
    const auto before = hn::Load(d, max + r),
               own = hn::Mul(hn::Set(d, ScoresOf<Terms>::kUnit), hn::Load(d, score + r));
    // A key that weighs more than all before it moves nothing while its weight is an ordinary
    // number: half of the rows would be scaled again otherwise.
    const auto most = hn::Add(before, hn::Set(d, kSafeScore));
    const auto after = hn::IfThenElse(hn::Gt(own, most), own, before);
    const auto f = ExpNonPositive(d, hn::Sub(before, after));
    const auto w = ExpWeight(d, hn::Sub(own, after));
    hn::Store(after, d, max + r);
    hn::Store(hn::MulAdd(hn::Load(d, sum + r), f, w), d, sum + r);
    hn::Store(f, d, fade + r);
    hn::Store(w, d, weight + r);
  }
  ScaleRow(keys.v(j), 1.0f, room, plan.D);
  for (idx_t r = 0; r < x.rows; ++r) {
    if (!x.takes_part[r]) continue;
    s.max[r] = max[r];
    s.sum[r] = sum[r];
    float* output = s.output + r * plan.row;
    if (fade[r] != 1.0f) RescaleRow(output, plan.row, fade[r]);
    AddScaledRow(room, weight[r] * FewKeysFactor(x, keys, x.first + r, j), output, plan.D);
  }
}

// The keys of a window lie in a ring that moves with the rows.
template <class Terms>
void ForwardRing(RowBlock& x, const KeyRows& window, const KeyRows& globals, TaskScratch& scratch,
                 idx_t begin, idx_t end) {
  constexpr idx_t kUnit = BlockPlan::kPanelUnit;
  const BlockPlan& plan = x.plan;
  const bool few = globals.count <= WindowPlan::kFewKeys;
  if (!few) PackKeys<Terms>(plan, globals, scratch.globals, 0, globals.count, false);
  scratch.keys.end = 0;
  for (idx_t first = begin; first < end; first += plan.rows) {
    EnterBlock(x, first, std::min(plan.rows, end - first));
    if (x.any) {
      const idx_t last = first + x.rows - 1;
      AdvanceRing<Terms>(plan, window, scratch.keys, window.Low(first),
                         window.High(last, x.queries.tokens(last)));
      if (!few) AddPart(x, globals, scratch.globals);
      AddPart(x, window, scratch.keys);
      GatherQueries<Terms>(x, x.queries.q, QueryFactor<Terms>(plan), scratch.rows.queries);
      StartRows(plan, scratch.rows, x.rows);
      const idx_t unit = scratch.keys.end, after = std::min(window.count, unit + kUnit);
      x.coming.Clear();
      AddRows(window.k, unit, after, plan.D, &x.coming);
      AddRows(window.v, unit, after, plan.D, &x.coming);
      AddRows(x.queries.q, last + 1, std::min(end, last + 1 + plan.rows), plan.D, &x.coming);
      AddRows(x.queries.out, first, last + 1, plan.D, &x.coming);
      ForwardBlock<Terms>(x, 0);
      for (idx_t j = 0; few && j < globals.count; ++j) {
        ForwardFewKey<Terms>(x, globals, j, scratch.keys.rows);
      }
    }
    FinishRows(plan, x.queries, scratch.rows, first, x.rows);
  }
}

// Keys pass by in blocks; all rows of the run remember what they have seen.
template <class Terms>
void ForwardBlocks(RowBlock& x, const KeyRows& window, const KeyRows& globals, TaskScratch& scratch,
                   idx_t begin, idx_t end) {
  const BlockPlan& plan = x.plan;
  const idx_t rows = end - begin;
  for (idx_t r = 0; r < rows; ++r) {
    GatherRow<Terms>(x.queries.q(begin + r), x.queries.TakesPart(begin + r),
                     QueryFactor<Terms>(plan), plan.D, plan.row,
                     scratch.rows.queries + r * plan.row / Terms::kWidth);
  }
  StartRows(plan, scratch.rows, rows);
  ForwardOverKeys<Terms>(x, globals, scratch.keys, begin, rows, 0, globals.count);
  ForwardOverKeys<Terms>(x, window, scratch.keys, begin, rows,
                         RoundDown(window.Low(begin), scratch.keys.ring),
                         window.High(end - 1, x.queries.tokens(end - 1)));
  FinishRows(plan, x.queries, scratch.rows, begin, rows);
}

template <class Terms>
void ForwardTask(const WindowArguments& args, const TaskScratch& memory, idx_t task) {
  const WindowPlan& plan = args.plan;
  const WindowSequence s = plan.Sequence(task / plan.runs);
  const idx_t run = task % plan.runs * plan.run;
  const idx_t begin = std::max(s.first_query, run), end = std::min(s.last_query, run + plan.run);
  if (begin >= end) return;
  TaskScratch scratch = memory;
  const KeyRows window = args.WindowKeys(s), globals = args.GlobalKeys(s.b, s.h);
  const QueryRows queries = args.Queries(s.b, s.h, window.tokens, s.count);
  RowBlock x(plan.forward, queries, scratch.rows);
  if (plan.ring) {
    ForwardRing<Terms>(x, window, globals, scratch, begin, end);
  } else {
    ForwardBlocks<Terms>(x, window, globals, scratch, begin, end);
  }
}

inline void WindowForwardTask(const WindowArguments& args, const TaskScratch& memory, idx_t task) {
  ForwardTask<F32Terms>(args, memory, task);
}
inline void WindowForwardPairs(const WindowArguments& args, const TaskScratch& memory, idx_t task) {
  ForwardTask<HalfTerms>(args, memory, task);
}

// ---- backward -----------------------------------------------------------------------------------

// A group of window keys with queries that no other task of the wave has.
template <class Terms>
void BackwardTask(const WindowArguments& args, const TaskScratch& memory, idx_t wave, idx_t task) {
  const WindowPlan& plan = args.plan;
  const idx_t pairs = plan.PairsOfWave(wave);
  const WindowSequence s = plan.Sequence(task / pairs);
  const WindowPlan::Pair pair = plan.PairOf(wave, task % pairs);
  TaskScratch scratch = memory;
  const KeyRows window = args.WindowKeys(s);
  const QueryRows queries = args.Queries(s.b, s.h, window.tokens, s.count);
  RowBlock x(plan.backward, queries, scratch.rows);
  const idx_t last_key = std::min(s.count, pair.last_keys);
  const idx_t first_query = std::max(s.first_query, pair.queries);
  const idx_t last_query = std::min(s.last_query, pair.last_queries);
  for (idx_t begin = pair.keys; begin < last_key; begin += scratch.keys.ring) {
    const idx_t end = std::min(last_key, begin + scratch.keys.ring);
    if (BackwardOverQueries<Terms>(x, window, scratch.keys, begin, end,
                                   std::max(first_query, begin - plan.right),
                                   std::min(last_query, end + plan.left))) {
      AddKeyGradients(plan.backward, window, scratch.keys);
    }
  }
}

inline void WindowBackwardTask(const WindowArguments& args, const TaskScratch& memory, idx_t wave,
                               idx_t task) {
  BackwardTask<F32Terms>(args, memory, wave, task);
}
inline void WindowBackwardPairs(const WindowArguments& args, const TaskScratch& memory, idx_t wave,
                                idx_t task) {
  BackwardTask<HalfTerms>(args, memory, wave, task);
}

// What a few global keys and query i give each other, without tiles: each row of memory is touched
// once, which is all that a single global key costs.
inline void BackwardFewKeys(const RowBlock& x, const KeyRows& keys, const PackedKeys& packed,
                            idx_t i) {
  const BlockPlan& plan = x.plan;
  const QueryRows& queries = x.queries;
  const idx_t token = queries.tokens(i), end = std::min(packed.end, keys.High(i, token));
  const InRow q = queries.q(i), dout = queries.dout(i);
  const float delta = DotRow(dout, queries.out(i), plan.D), lse = *queries.lse(i);
  for (idx_t j = packed.begin; j < end; ++j) {
    const InRow k = keys.k(j);
    const float p = std::exp(plan.scale * DotRow(q, k, plan.D) - lse);
    const float factor = FewKeysFactor(x, keys, i, j);
    const float ds = plan.scale * p * (factor * DotRow(dout, keys.v(j), plan.D) - delta);
    const idx_t at = (j - packed.begin) * plan.row;
    AddScaledRow(k, ds, queries.dq(i), plan.D);
    AddScaledRow(q, ds, packed.dk + at, plan.D);
    AddScaledRow(dout, p * factor, packed.dv + at, plan.D);
  }
}

// Global keys [packed.begin, packed.end) with queries [first, last). Returns whether there was one.
inline bool BackwardFewKeysOverQueries(const RowBlock& x, const KeyRows& keys,
                                       const PackedKeys& packed, idx_t first, idx_t last) {
  const idx_t count = packed.end - packed.begin;
  std::fill_n(packed.dk, count * x.plan.row, 0.0f);
  std::fill_n(packed.dv, count * x.plan.row, 0.0f);
  std::fill_n(packed.visible, count, 1.0f);
  bool used = false;
  for (idx_t i = first; i < last; ++i) {
    if (!x.queries.TakesPart(i)) continue;
    BackwardFewKeys(x, keys, packed, i);
    used = true;
  }
  return used;
}

// Global keys from number `first` on, at most kGlobalKeys, with a part of one head's queries.
inline void WindowGlobalKeysTask(const WindowArguments& args, const TaskScratch& memory,
                                 idx_t first, idx_t task) {
  const WindowPlan& plan = args.plan;
  const idx_t head = task / plan.parts, part = task % plan.parts * plan.part;
  const idx_t b = head / plan.H, h = head % plan.H;
  const KeyRows globals = args.GlobalKeys(b, h);
  if (args.side != nullptr) args.side_used[task] = 0;
  if (first >= globals.count) return;
  const idx_t last = std::min(globals.count, first + WindowPlan::kGlobalKeys);
  const QueryRows queries = args.Queries(b, h, {}, plan.T);
  TaskScratch scratch = memory;
  PackedKeys& packed = scratch.keys;
  packed.ring = WindowPlan::kGlobalKeys;
  if (args.side != nullptr) {
    packed.dk = args.Side(task, 0);
    packed.dv = args.Side(task, 1);
  }
  RowBlock x(plan.backward, queries, scratch.rows);
  const idx_t begin = std::max(plan.first_query, part);
  const idx_t end = std::min(plan.last_query, part + plan.part);
  packed.begin = first;
  packed.end = last;
  const bool used =
      last - first <= WindowPlan::kFewKeys
          ? BackwardFewKeysOverQueries(x, globals, packed, begin, end)
          : BackwardOverQueries<F32Terms>(x, globals, packed, first, last, begin, end);
  if (args.side != nullptr) {
    args.side_used[task] = used ? 1 : 0;
  } else if (used) {
    AddKeyGradients(plan.backward, globals, packed);
  }
}

// Adds the parts of one head, in their order.
inline void WindowGlobalSumTask(const WindowArguments& args, idx_t first, idx_t head) {
  const WindowPlan& plan = args.plan;
  const KeyRows globals = args.GlobalKeys(head / plan.H, head % plan.H);
  const idx_t last = std::min(globals.count, first + WindowPlan::kGlobalKeys);
  for (idx_t part = 0; part < plan.parts; ++part) {
    const idx_t task = head * plan.parts + part;
    if (args.side_used[task] == 0) continue;
    for (idx_t j = first; j < last; ++j) {
      const idx_t at = (j - first) * plan.backward.row;
      AddRow(args.Side(task, 0) + at, globals.dk(j), plan.backward.D);
      AddRow(args.Side(task, 1) + at, globals.dv(j), plan.backward.D);
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_WINDOW_ATTENTION_INL_H_
