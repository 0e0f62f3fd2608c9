#include "ops/chunked_attention/chunked_amx.h"

#include <algorithm>

#include "base/isa.h"
#include "ops/amx_attention/amx_attention.h"
#include "ops/attention_lists.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// Queries of a backward task, at least: beside them it packs the keys that they see before and
// behind, an eighth more at chunk 64 with one chunk of look-back.
constexpr idx_t kRunQueries = 1024;

AmxPlan AmxPlanOf(const ChunkedPlan& plan) {
  return {plan.D, plan.scale, plan.dropout, plan.window_slots};
}

AmxReach ReachOf(const ChunkedArguments& args) {
  const ChunkedPlan& plan = args.plan;
  // A query that sees no key weighs its whole window, causal or not.
  const bool ahead = !plan.causal || plan.after > 0 || args.blind != nullptr;
  return ReachOfChunks(plan.chunk, plan.before, plan.after, ahead);
}

// The queries of a head, and the chunks that they see one after another.
AmxLists ListsOf(const ChunkedArguments& args, idx_t b, idx_t h) {
  const ChunkedPlan& plan = args.plan;
  const idx_t circle = plan.chunks * plan.chunk;
  AmxLists lists;
  QueryRows& queries = lists.queries;
  queries.count = plan.Queries();
  queries.head_row = plan.drawn.Head(b, h, plan.H) * plan.T + plan.first * plan.chunk;
  queries.q = HeadRows(args.q, b, h, {});
  queries.out = HeadRows(args.out, b, h, {});
  queries.lse = HeadRows(args.lse, b, h, {});
  queries.dout = HeadRows(args.dout, b, h, {});
  queries.dq = HeadRows(args.gradients.dq, b, h, {});
  if (!args.delta.empty()) queries.delta = HeadRows(args.delta, b, h, {});
  KeyRows& keys = lists.keys;
  keys.count = (plan.last - plan.first + plan.before + plan.after) * plan.chunk;
  // A slab's keys lie as they are seen, others around the circle.
  if (!plan.slab) keys.tokens = {-plan.before * plan.chunk, 1, nullptr, circle};
  keys.chunks = {plan.chunk, plan.parts, plan.before, (plan.first - plan.before) * plan.chunk,
                 circle,     plan.T};
  keys.roles = RolesOf(args.mask, b);
  keys.shows_global = true;  // any mark but 0
  keys.causal = plan.causal;
  keys.k = HeadRows(args.k, b, h, keys.tokens);
  keys.v = HeadRows(args.v, b, h, keys.tokens);
  keys.dk = HeadRows(args.gradients.dk, b, h, keys.tokens);
  keys.dv = HeadRows(args.gradients.dv, b, h, keys.tokens);
  if (args.blind != nullptr) lists.blind.marks = args.blind + b * plan.Queries();
  return lists;
}

}  // namespace

bool RunsOnTiles(const ChunkedPlan& plan) {
  return MultipliesTiles(plan.bf16) && AmxTakes(plan.D, plan.scale) && plan.before < plan.chunks &&
         plan.after < plan.chunks;
}

AmxChunkedRuns PlanAmxChunkedRuns(const ChunkedPlan& plan, idx_t unit) {
  // A run is longer than what the runs beside it can see of it together, also when it is a unit
  // shorter than the others.
  const idx_t least = RoundUp(std::max(kRunQueries, 2 * plan.parts * plan.chunk), unit) + unit;
  return {plan.Queries(), unit, std::max<idx_t>(1, plan.Queries() / least)};
}

void AmxChunkedForward(Context& context, const ChunkedArguments& args) {
  const ChunkedPlan& plan = args.plan;
  const idx_t heads = plan.B * plan.H, queries = plan.Queries();
  const AmxReach reach = ReachOf(args);
  AmxPlan amx = AmxPlanOf(plan);
  PlanAmxForward(ListsOf(args, 0, 0).keys.count, reach.left, reach.right, 0, heads,
                 context.threads(), &amx);
  const idx_t run = amx.run * kAmxBlock, runs = CeilDiv(queries, run);
  const AmxScratch scratch(context, AmxForwardBytes(amx));
  ParallelFor(context, heads * runs, [&](idx_t task, int thread) {
    const idx_t head = task / runs, begin = task % runs * run;
    AmxForward(amx, ListsOf(args, head / plan.H, head % plan.H), scratch.Of(thread),
               {begin, std::min(queries, begin + run)});
  });
}

void AmxChunkedBackward(Context& context, const ChunkedArguments& args) {
  const ChunkedPlan& plan = args.plan;
  const idx_t heads = plan.B * plan.H;
  const AmxReach reach = ReachOf(args);
  AmxPlan amx = AmxPlanOf(plan);
  PlanAmxBackward(plan.Queries(), reach.left, reach.right, &amx);
  const AmxChunkedRuns runs = PlanAmxChunkedRuns(plan, amx.side * kAmxBlock);
  const AmxScratch scratch(context, AmxBackwardBytes(amx));
  for (idx_t wave = 0; wave < runs.Waves(); ++wave) {
    const idx_t each = runs.RunsOfWave(wave);
    ParallelFor(context, heads * each, [&](idx_t task, int thread) {
      const idx_t head = task / each, r = runs.RunOf(wave, task % each);
      const AmxLists lists = ListsOf(args, head / plan.H, head % plan.H);
      const ChunkWindows& chunks = lists.keys.chunks;
      const AmxRange queries{runs.Begin(r), runs.Begin(r + 1)};
      const AmxRange keys{chunks.Begin(queries.begin),
                          chunks.Begin(queries.end - 1) + plan.parts * plan.chunk};
      AmxBackward(amx, lists, scratch.Of(thread), keys, queries);
    });
  }
}

}  // namespace longspan
