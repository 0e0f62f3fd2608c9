#include "ops/window_attention/window_amx.h"

#include <algorithm>

#include "base/isa.h"
#include "ops/amx_attention/amx_attention.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

AmxPlan AmxPlanOf(const BlockPlan& block) {
  AmxPlan plan;
  plan.twin = ActiveBf16Path() == Bf16Path::kTwin;
  plan.D = block.D;
  plan.scale = block.scale;
  plan.dropout = block.dropout;
  plan.slots = block.slots;
  return plan;
}

AmxLists ListsOf(const WindowArguments& args, const WindowSequence& s, bool globals) {
  AmxLists lists;
  lists.keys = args.WindowKeys(s);
  lists.queries = args.Queries(s.b, s.h, lists.keys.tokens, s.count);
  if (globals) lists.globals = args.GlobalKeys(s.b, s.h);
  return lists;
}

}  // namespace

bool RunsOnTiles(const WindowArguments& args) {
  return MultipliesTiles(args.q.bf16) && AmxTakes(args.plan.forward.D, args.plan.forward.scale);
}

void AmxWindowForward(Context& context, const WindowArguments& args) {
  const WindowPlan& plan = args.plan;
  AmxPlan amx = AmxPlanOf(plan.forward);
  PlanAmxForward(plan.longest, plan.left, plan.right, args.globals.most, plan.Sequences(),
                 context.threads(), &amx);
  const idx_t run = amx.run * kAmxBlock, runs = CeilDiv(plan.longest, run);
  const AmxScratch scratch(context, AmxForwardBytes(amx));
  ParallelFor(context, plan.Sequences() * runs, [&](idx_t task, int thread) {
    const WindowSequence s = plan.Sequence(task / runs);
    const idx_t begin = task % runs * run, end = std::min(s.count, begin + run);
    if (begin >= end) return;
    AmxForward(amx, ListsOf(args, s, true), scratch.Of(thread), {begin, end});
  });
}

void AmxWindowBackward(Context& context, const WindowArguments& args) {
  AmxPlan amx = AmxPlanOf(args.plan.backward);
  WindowPlan plan = args.plan;
  PlanAmxBackward(plan.longest, plan.left, plan.right, &amx);
  PlanGroups(amx.side * kAmxBlock, &plan);
  const AmxScratch scratch(context, AmxBackwardBytes(amx));
  for (idx_t wave = 0; wave < plan.Waves(); ++wave) {
    const idx_t pairs = plan.PairsOfWave(wave);
    ParallelFor(context, plan.Sequences() * pairs, [&](idx_t task, int thread) {
      const WindowSequence s = plan.Sequence(task / pairs);
      const WindowPlan::Pair pair = plan.PairOf(wave, task % pairs);
      AmxBackward(amx, ListsOf(args, s, false), scratch.Of(thread), {pair.keys, pair.last_keys},
                  {pair.queries, pair.last_queries});
    });
  }
}

}  // namespace longspan
