#include "ops/full_attention/full_amx.h"

#include <algorithm>
#include <vector>

#include "base/isa.h"
#include "ops/amx_attention/amx_attention.h"
#include "ops/side_by_side.h"

namespace longspan {
namespace {

// Groups of the backward: as many as the other kernels have, and not longer than this, so that a
// thread's packed queries stay near its core. Short groups pack their rows too often.
idx_t MostGroup(const AmxPlan& plan) {
  return std::max<idx_t>(512, idx_t{2048} * 64 / plan.Terms());
}

AmxPlan AmxPlanOf(const FullPlan& full) {
  AmxPlan amx(full.D, full.query_scale, full.dropout, full.T);
  amx.shared = full.shared;
  return amx;
}

// All tokens of a head, as queries and as keys.
AmxLists ListsOf(const FullArguments& args, idx_t b, idx_t h) {
  const FullPlan& plan = args.plan;
  AmxLists lists;
  QueryRows& queries = lists.queries;
  queries.count = plan.T;
  queries.head_row = plan.drawn.Head(b, h, plan.H) * plan.T;
  queries.q = HeadRows(args.q, b, h, {});
  queries.out = HeadRows(args.out, b, h, {});
  queries.lse = HeadRows(args.lse, b, h, {});
  queries.dout = HeadRows(args.dout, b, h, {});
  queries.dq = HeadRows(args.dq, b, h, {});
  if (!args.delta.empty()) queries.delta = HeadRows(args.delta, b, h, {});
  KeyRows& keys = lists.keys;
  keys.count = plan.T;
  keys.roles = RolesOf(args.mask, b);
  keys.shows_global = true;  // any mark but 0
  keys.k = HeadRows(args.k, b, h, {});
  keys.v = HeadRows(args.v, b, h, {});
  keys.dk = HeadRows(args.dk, b, h, {});
  keys.dv = HeadRows(args.dv, b, h, {});
  keys.causal = plan.causal;
  keys.shared = plan.shared;
  if (plan.shared) {
    AmxShared& shared = lists.shared;
    shared.max = shared.saved_max = HeadRows(args.max, b, h, {});
    shared.sum = shared.saved_sum = HeadRows(args.sum, b, h, {});
    shared.own_end = plan.T;
  } else if (args.first_visible != nullptr) {
    const idx_t visible = args.first_visible[b];
    if (plan.causal || visible == plan.T) lists.blind.first = visible;
  }
  return lists;
}

}  // namespace

bool RunsOnTiles(const FullPlan& plan) {
  return MultipliesTiles(plan.bf16) && AmxTakes(plan.D, plan.query_scale);
}

void AmxFullForward(Context& context, std::span<const FullArguments> calls) {
  struct Runs {
    AmxPlan amx;
    idx_t run = 0, count = 0;  // queries of a task, tasks of a head
  };
  const FullPlan& first = calls.front().plan;
  const idx_t heads = first.B * first.H, all = heads * static_cast<idx_t>(calls.size());
  std::vector<Runs> runs;
  std::size_t bytes = 0;
  for (const FullArguments& args : calls) {
    const FullPlan& plan = args.plan;
    Runs r{AmxPlanOf(plan)};
    PlanAmxForward(plan.T, plan.T, plan.causal ? 0 : plan.T, 0, all, context.threads(), &r.amx);
    r.run = r.amx.run * kAmxBlock;
    r.count = CeilDiv(plan.T, r.run);
    bytes = std::max(bytes, AmxForwardBytes(r.amx));
    runs.push_back(r);
  }
  const AmxScratch scratch(context, bytes);
  const auto count = [&](std::size_t call) { return heads * runs[call].count; };
  // Long runs first when causal: the last task to start is a short one.
  ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
    const FullArguments& args = calls[call];
    const Runs& r = runs[call];
    const idx_t head = task % heads, begin = (r.count - 1 - task / heads) * r.run;
    AmxForward(r.amx, ListsOf(args, head / first.H, head % first.H), scratch.Of(thread),
               {begin, std::min(args.plan.T, begin + r.run)});
  });
}

void AmxFullBackward(Context& context, std::span<const FullArguments> calls) {
  const FullPlan& first = calls.front().plan;
  const idx_t heads = first.B * first.H;
  std::vector<AmxPlan> amx;
  std::vector<FullPlan> plans;  // with groups of the tile unit's sides
  std::size_t bytes = 0;
  idx_t waves = 0;
  for (const FullArguments& args : calls) {
    FullPlan plan = args.plan;
    amx.push_back(AmxPlanOf(plan));
    const idx_t most = MostGroup(amx.back());
    PlanAmxBackward(std::min(plan.T, most), plan.T, plan.T, &amx.back());
    const idx_t unit = amx.back().side * kAmxBlock;
    const idx_t wanted = std::min(plan.groups, CeilDiv(plan.T, unit));
    plan.group = RoundUp(CeilDiv(plan.T, std::max(wanted, CeilDiv(plan.T, most))), unit);
    plan.groups = CeilDiv(plan.T, plan.group);
    plans.push_back(plan);
    bytes = std::max(bytes, AmxBackwardBytes(amx.back()));
    waves = std::max(waves, plan.Waves());
  }
  const AmxScratch scratch(context, bytes);
  for (idx_t wave = 0; wave < waves; ++wave) {
    const auto count = [&](std::size_t call) {
      return wave < plans[call].Waves() ? heads * plans[call].PairsOfWave(wave) : 0;
    };
    ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
      const FullPlan& plan = plans[call];
      const idx_t pairs = plan.PairsOfWave(wave), head = task / pairs;
      const FullPlan::Pair pair = plan.PairOf(wave, task % pairs);
      if (pair.high == plan.groups) return;  // a bye
      const AmxLists lists = ListsOf(calls[call], head / plan.H, head % plan.H);
      const AmxRange low{plan.GroupBegin(pair.low), plan.GroupEnd(pair.low)};
      const AmxRange high{plan.GroupBegin(pair.high), plan.GroupEnd(pair.high)};
      AmxBackward(amx[call], lists, scratch.Of(thread), low, high);
      if (pair.low != pair.high) AmxBackward(amx[call], lists, scratch.Of(thread), high, low);
    });
  }
}

}  // namespace longspan
