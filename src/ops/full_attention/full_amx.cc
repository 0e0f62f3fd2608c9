#include "ops/full_attention/full_amx.h"

#include <algorithm>

#include "base/isa.h"
#include "ops/amx_attention/amx_attention.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// Groups of the backward: what 32 threads need, as of the other kernels, and not longer than this,
// so that a thread's packed queries stay near its core. Short groups pack their rows too often.
constexpr idx_t kGroupTasks = 32;
idx_t MostGroup(const AmxPlan& plan) {
  return std::max<idx_t>(512, idx_t{2048} * 64 / plan.Terms());
}

AmxPlan AmxPlanOf(const FullPlan& full) {
  AmxPlan plan;
  plan.twin = ActiveBf16Path() == Bf16Path::kTwin;
  plan.D = full.D;
  plan.scale = full.query_scale;
  plan.dropout = full.dropout;
  plan.slots = full.T;
  return plan;
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
  if (args.first_visible != nullptr) {
    const idx_t visible = args.first_visible[b];
    if (plan.causal || visible == plan.T) lists.blind = visible;
  }
  return lists;
}

}  // namespace

bool RunsOnTiles(const FullPlan& plan) {
  return MultipliesTiles(plan.bf16) && !plan.shared && AmxTakes(plan.D, plan.query_scale);
}

void AmxFullForward(Context& context, const FullArguments& args) {
  const FullPlan& plan = args.plan;
  AmxPlan amx = AmxPlanOf(plan);
  const idx_t heads = plan.B * plan.H;
  PlanAmxForward(plan.T, plan.T, plan.causal ? 0 : plan.T, 0, heads, context.threads(), &amx);
  const idx_t run = amx.run * kAmxBlock, runs = CeilDiv(plan.T, run);
  const AmxScratch scratch(context, AmxForwardBytes(amx));
  // Long runs first when causal: the last task to start is a short one.
  ParallelFor(context, heads * runs, [&](idx_t task, int thread) {
    const idx_t head = task % heads, begin = (runs - 1 - task / heads) * run;
    AmxForward(amx, ListsOf(args, head / plan.H, head % plan.H), scratch.Of(thread),
               {begin, std::min(plan.T, begin + run)});
  });
}

void AmxFullBackward(Context& context, const FullArguments& args) {
  FullPlan plan = args.plan;
  AmxPlan amx = AmxPlanOf(plan);
  const idx_t most = MostGroup(amx);
  PlanAmxBackward(std::min(plan.T, most), plan.T, plan.T, &amx);
  const idx_t heads = plan.B * plan.H, unit = amx.side * kAmxBlock;
  const idx_t wanted = heads >= kGroupTasks ? 1 : 2 * CeilDiv(kGroupTasks, heads);
  const idx_t groups = std::max(std::min(wanted, CeilDiv(plan.T, unit)), CeilDiv(plan.T, most));
  plan.group = RoundUp(CeilDiv(plan.T, groups), unit);
  plan.groups = CeilDiv(plan.T, plan.group);
  const AmxScratch scratch(context, AmxBackwardBytes(amx));
  for (idx_t wave = 0; wave < plan.Waves(); ++wave) {
    const idx_t pairs = plan.PairsOfWave(wave);
    ParallelFor(context, heads * pairs, [&](idx_t task, int thread) {
      const FullPlan::Pair pair = plan.PairOf(wave, task % pairs);
      if (pair.high == plan.groups) return;  // a bye
      const idx_t head = task / pairs;
      const AmxLists lists = ListsOf(args, head / plan.H, head % plan.H);
      const AmxRange low{plan.GroupBegin(pair.low), plan.GroupEnd(pair.low)};
      const AmxRange high{plan.GroupBegin(pair.high), plan.GroupEnd(pair.high)};
      AmxBackward(amx, lists, scratch.Of(thread), low, high);
      if (pair.low != pair.high) AmxBackward(amx, lists, scratch.Of(thread), high, low);
    });
  }
}

}  // namespace longspan
