#include "ops/window_attention/window_amx.h"

#include <algorithm>
#include <vector>

#include "base/isa.h"
#include "ops/amx_attention/amx_attention.h"
#include "ops/side_by_side.h"

namespace longspan {
namespace {

AmxPlan AmxPlanOf(const BlockPlan& block) {
  return {block.D, block.scale, block.dropout, block.slots};
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
  return !args.plan.slab && MultipliesTiles(args.q.bf16) &&
         AmxTakes(args.plan.forward.D, args.plan.forward.scale);
}

void AmxWindowForward(Context& context, std::span<const WindowArguments> calls) {
  struct Runs {
    AmxPlan amx;
    idx_t run = 0, count = 0;  // queries of a task, tasks of a sequence
  };
  std::vector<Runs> runs;
  std::size_t bytes = 0;
  for (const WindowArguments& args : calls) {
    const WindowPlan& plan = args.plan;
    Runs r{AmxPlanOf(plan.forward)};
    PlanAmxForward(plan.longest, plan.left, plan.right, args.globals.most,
                   plan.Sequences() * static_cast<idx_t>(calls.size()), context.threads(), &r.amx);
    r.run = r.amx.run * kAmxBlock;
    r.count = CeilDiv(plan.longest, r.run);
    bytes = std::max(bytes, AmxForwardBytes(r.amx));
    runs.push_back(r);
  }
  const AmxScratch scratch(context, bytes);
  const auto count = [&](std::size_t call) {
    return calls[call].plan.Sequences() * runs[call].count;
  };
  ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
    const WindowArguments& args = calls[call];
    const Runs& r = runs[call];
    const WindowSequence s = args.plan.Sequence(task / r.count);
    const idx_t begin = task % r.count * r.run, end = std::min(s.count, begin + r.run);
    if (begin < end) AmxForward(r.amx, ListsOf(args, s, true), scratch.Of(thread), {begin, end});
  });
}

void AmxWindowBackward(Context& context, std::span<const WindowArguments> calls) {
  std::vector<AmxPlan> amx;
  std::vector<WindowPlan> plans;  // with groups of the tile unit's sides
  std::size_t bytes = 0;
  idx_t waves = 0;
  for (const WindowArguments& args : calls) {
    amx.push_back(AmxPlanOf(args.plan.backward));
    plans.push_back(args.plan);
    WindowPlan& plan = plans.back();
    PlanAmxBackward(plan.longest, plan.left, plan.right, &amx.back());
    PlanGroups(amx.back().side * kAmxBlock, &plan);
    bytes = std::max(bytes, AmxBackwardBytes(amx.back()));
    waves = std::max(waves, plan.Waves());
  }
  const AmxScratch scratch(context, bytes);
  for (idx_t wave = 0; wave < waves; ++wave) {
    const auto count = [&](std::size_t call) {
      const WindowPlan& plan = plans[call];
      return wave < plan.Waves() ? plan.Sequences() * plan.PairsOfWave(wave) : 0;
    };
    ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
      const WindowPlan& plan = plans[call];
      const idx_t pairs = plan.PairsOfWave(wave);
      const WindowSequence s = plan.Sequence(task / pairs);
      const WindowPlan::Pair pair = plan.PairOf(wave, task % pairs);
      AmxBackward(amx[call], ListsOf(calls[call], s, false), scratch.Of(thread),
                  {pair.keys, pair.last_keys}, {pair.queries, pair.last_queries});
    });
  }
}

AmxPlan PlanAmxGlobalKeys(const WindowArguments& args) {
  AmxPlan amx = AmxPlanOf(args.plan.backward);
  PlanAmxBackward(kAmxGlobalPart, args.plan.T, args.plan.T, &amx);
  return amx;
}

void AmxGlobalKeysTask(const WindowArguments& args, const AmxPlan& amx, void* scratch, idx_t first,
                       idx_t task) {
  const WindowPlan& plan = args.plan;
  const idx_t head = task / plan.parts, begin = task % plan.parts * plan.part;
  const idx_t b = head / plan.H, h = head % plan.H;
  AmxLists lists;
  lists.queries = args.Queries(b, h, {}, plan.T);
  lists.keys = args.GlobalKeys(b, h);
  if (args.side != nullptr) args.side_used[task] = 0;
  if (first >= lists.keys.count) return;
  const idx_t last = std::min(lists.keys.count, first + WindowPlan::kGlobalKeys);
  if (args.side != nullptr) {
    const idx_t row = plan.backward.row;
    std::fill_n(args.Side(task, 0), (last - first) * row, 0.0f);
    std::fill_n(args.Side(task, 1), (last - first) * row, 0.0f);
    lists.keys.dk = {args.Side(task, 0), row, {-first, 1, nullptr}};
    lists.keys.dv = {args.Side(task, 1), row, {-first, 1, nullptr}};
    args.side_used[task] = 1;
  }
  const idx_t end = std::min(plan.T, begin + plan.part);
  for (idx_t at = begin; at < end; at += kAmxGlobalPart) {  // what lies packed stays small
    AmxBackward(amx, lists, scratch, {first, last}, {at, std::min(end, at + kAmxGlobalPart)});
  }
}

}  // namespace longspan
