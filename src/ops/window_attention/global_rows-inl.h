// The rows of global tokens, the tasks: a batch of query rows of one head with a part of the keys,
// and putting the parts together.
//
// Work: as in row_block-inl.h, all keys that are not hidden; keys are packed once per batch.

// Included once for every target.
#if defined(LONGSPAN_OPS_WINDOW_GLOBAL_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_WINDOW_GLOBAL_ROWS_INL_H_
#undef LONGSPAN_OPS_WINDOW_GLOBAL_ROWS_INL_H_
#else
#define LONGSPAN_OPS_WINDOW_GLOBAL_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "ops/window_attention/global_rows.h"
#include "ops/window_attention/row_block-inl.h"
#include "ops/window_attention/row_block_backward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// ---- forward ------------------------------------------------------------------------------------

template <class Terms>
void ForwardGlobalRows(const GlobalArguments& args, const TaskScratch& memory, idx_t task) {
  const GlobalPlan& plan = args.plan;
  const idx_t unit = task / plan.parts;  // a batch of a head
  const GlobalTask g(args, unit % plan.batches, unit / plan.batches, task % plan.parts);
  if (g.rows <= 0) return;
  TaskScratch scratch = memory;
  if (args.side != nullptr) {
    scratch.rows.output = args.Side(task);
    scratch.rows.max = scratch.rows.output + plan.rows * plan.block.row;
    scratch.rows.sum = scratch.rows.max + plan.rows;
  }
  const QueryRows queries = args.Queries(g.b, g.h);
  const KeyRows keys = args.Keys(g.b, g.h);
  for (idx_t r = 0; r < g.rows; ++r) {
    GatherRow<Terms>(queries.q(g.first + r), true, QueryFactor<Terms>(plan.block), plan.block.D,
                     plan.block.row, scratch.rows.queries + r * plan.block.row / Terms::kWidth);
  }
  StartRows(plan.block, scratch.rows, g.rows);
  RowBlock x(plan.block, queries, scratch.rows);
  ForwardOverKeys<Terms>(x, keys, scratch.keys, g.first, g.rows, g.begin, g.end);
  if (args.side == nullptr) FinishRows(plan.block, queries, scratch.rows, g.first, g.rows);
}

inline void GlobalForwardTask(const GlobalArguments& args, const TaskScratch& memory, idx_t task) {
  ForwardGlobalRows<F32Terms>(args, memory, task);
}
inline void GlobalForwardPairs(const GlobalArguments& args, const TaskScratch& memory, idx_t task) {
  ForwardGlobalRows<HalfTerms>(args, memory, task);
}

// Puts the parts of a batch together: out = sum of e^(max_i - max) output_i / the same of sum_i.
inline void GlobalForwardSum(const GlobalArguments& args, const TaskScratch& scratch, idx_t unit) {
  const GlobalPlan& plan = args.plan;
  const GlobalTask g(args, unit % plan.batches, unit / plan.batches, 0);
  if (g.rows <= 0) return;
  const RowScratch& s = scratch.rows;
  StartRows(plan.block, s, g.rows);
  const auto stats = [&](idx_t part) {
    return args.Side(unit * plan.parts + part) + plan.rows * plan.block.row;
  };
  for (idx_t r = 0; r < g.rows; ++r) {
    for (idx_t part = 0; part < plan.parts; ++part) s.max[r] = std::max(s.max[r], stats(part)[r]);
    for (idx_t part = 0; part < plan.parts; ++part) {
      const float sum = stats(part)[plan.rows + r];
      if (sum == 0.0f) continue;
      const float factor = std::exp(stats(part)[r] - s.max[r]);
      s.sum[r] += factor * sum;
      AddScaledRow(args.Side(unit * plan.parts + part) + r * plan.block.row, factor,
                   s.output + r * plan.block.row, plan.block.D);
    }
  }
  FinishRows(plan.block, args.Queries(g.b, g.h), s, g.first, g.rows);
}

// ---- backward -----------------------------------------------------------------------------------

template <class Terms>
void BackwardGlobalRows(const GlobalArguments& args, const TaskScratch& memory, idx_t batch,
                        idx_t task) {
  const GlobalPlan& plan = args.plan;
  const GlobalTask g(args, batch, task / plan.parts, task % plan.parts);
  if (g.rows <= 0) return;
  TaskScratch scratch = memory;
  QueryRows queries = args.Queries(g.b, g.h);
  if (args.side != nullptr) {
    std::fill_n(args.Side(task), g.rows * plan.block.row, 0.0f);
    queries.dq = {args.Side(task), plan.block.row, {-g.first, 1, nullptr}};
  }
  const KeyRows keys = args.Keys(g.b, g.h);
  RowBlock x(plan.block, queries, scratch.rows);
  for (idx_t begin = g.begin; begin < g.end; begin += scratch.keys.ring) {
    const idx_t end = std::min(g.end, begin + scratch.keys.ring);
    if (BackwardOverQueries<Terms>(x, keys, scratch.keys, begin, end, g.first, g.first + g.rows)) {
      AddKeyGradients(plan.block, keys, scratch.keys);
    }
  }
}

inline void GlobalBackwardTask(const GlobalArguments& args, const TaskScratch& memory, idx_t batch,
                               idx_t task) {
  BackwardGlobalRows<F32Terms>(args, memory, batch, task);
}
inline void GlobalBackwardPairs(const GlobalArguments& args, const TaskScratch& memory, idx_t batch,
                                idx_t task) {
  BackwardGlobalRows<HalfTerms>(args, memory, batch, task);
}

// Adds the parts' dq of a batch of one head, in their order.
inline void GlobalBackwardSum(const GlobalArguments& args, idx_t batch, idx_t head) {
  const GlobalPlan& plan = args.plan;
  const GlobalTask g(args, batch, head, 0);
  const QueryRows queries = args.Queries(g.b, g.h);
  for (idx_t part = 0; part < plan.parts; ++part) {
    const float* dq = args.Side(head * plan.parts + part);
    for (idx_t r = 0; r < g.rows; ++r) {
      AddRow(dq + r * plan.block.row, queries.dq(g.first + r), plan.block.D);
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_WINDOW_GLOBAL_ROWS_INL_H_
