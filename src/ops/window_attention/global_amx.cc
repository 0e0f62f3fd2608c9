#include "ops/window_attention/global_amx.h"

#include <algorithm>

namespace longspan {

GlobalTiles PlanGlobalTiles(std::span<const GlobalArguments> calls, bool backward) {
  GlobalTiles tiles;
  for (const GlobalArguments& args : calls) {
    const GlobalPlan& plan = args.plan;
    AmxPlan amx(plan.block.D, plan.block.scale, plan.block.dropout, plan.block.slots);
    if (backward) {
      PlanAmxBackward(kGlobalRowsOnTiles, plan.T, plan.T, &amx);
    } else {
      PlanAmxForward(plan.part, plan.part, plan.part, 0, 1, 1, &amx);
    }
    tiles.bytes = std::max(tiles.bytes, backward ? AmxBackwardBytes(amx) : AmxForwardBytes(amx));
    tiles.plans.push_back(amx);
  }
  return tiles;
}

void GlobalForwardOnTiles(const GlobalArguments& args, const AmxPlan& amx, void* scratch,
                          idx_t task) {
  const GlobalPlan& plan = args.plan;
  const idx_t unit = task / plan.parts;  // a batch of a head
  const GlobalTask g(args, unit % plan.batches, unit / plan.batches, task % plan.parts);
  if (g.rows <= 0) return;
  AmxLists lists;
  lists.queries = args.Queries(g.b, g.h);
  KeyRows& keys = lists.keys;
  keys = args.Keys(g.b, g.h);
  keys.count = g.end - g.begin;
  keys.slot += g.begin;
  for (TokenMap* tokens : {&keys.tokens, &keys.k.tokens, &keys.v.tokens}) tokens->origin = g.begin;
  if (args.side != nullptr) {
    const TokenMap row{-g.first, 1, nullptr};
    float* out = args.Side(task);
    lists.part.out = {out, plan.block.row, row};
    lists.part.max = {out + plan.rows * plan.block.row, 1, row};
    lists.part.sum = {out + plan.rows * (plan.block.row + 1), 1, row};
  }
  const idx_t end = g.first + g.rows, run = amx.run * kAmxBlock;
  for (idx_t begin = g.first; begin < end; begin += run) {
    AmxForward(amx, lists, scratch, {begin, std::min(end, begin + run)});
  }
}

void GlobalBackwardOnTiles(const GlobalArguments& args, const AmxPlan& amx, void* scratch,
                           idx_t batch, idx_t task) {
  const GlobalPlan& plan = args.plan;
  const GlobalTask g(args, batch, task / plan.parts, task % plan.parts);
  if (g.rows <= 0) return;
  AmxLists lists;
  lists.queries = args.Queries(g.b, g.h);
  lists.keys = args.Keys(g.b, g.h);
  if (args.side != nullptr) {
    std::fill_n(args.Side(task), g.rows * plan.block.row, 0.0f);
    lists.queries.dq = {args.Side(task), plan.block.row, {-g.first, 1, nullptr}};
  }
  AmxBackward(amx, lists, scratch, {g.begin, g.end}, {g.first, g.first + g.rows});
}

}  // namespace longspan
