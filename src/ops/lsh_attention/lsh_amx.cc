#include "ops/lsh_attention/lsh_amx.h"

#include <algorithm>

#include "base/isa.h"
#include "ops/attention_lists.h"

namespace longspan {
namespace {

AmxPlan AmxPlanOf(const LshPlan& plan) {
  AmxPlan amx(plan.D, 1.0f, plan.dropout, plan.window_slots);
  amx.shared = true;
  return amx;
}

AmxReach ReachOf(const LshPlan& plan) {
  return ReachOfChunks(plan.chunk, plan.before, plan.after, true);
}

// The entries of the task's chunks and those around them: tokens and from which queries on they are
// seen.
void FillEntries(const LshArguments& args, const LshScratch& s, idx_t b, idx_t head, idx_t begin,
                 idx_t end) {
  const LshPlan& plan = args.plan;
  idx_t at = 0;
  for (idx_t unwrapped = begin; unwrapped < end; ++unwrapped) {
    const idx_t c = plan.Wrap(unwrapped), keys = plan.Keys(c);
    const std::int32_t* tokens = args.Tokens(head, c);
    for (idx_t j = 0; j < plan.chunk; ++j, ++at) {
      const bool exists = j < keys;
      const bool shown = exists && (args.mask.empty() || args.mask(b, tokens[j]) != 0);
      s.token[at] = exists ? tokens[j] : -1;
      s.bound[at] = shown ? (plan.causal ? tokens[j] : 0) : kNeverSeen;
    }
  }
  const idx_t padded = RoundUp(at, kAmxBlock);
  std::fill(s.token + at, s.token + padded, -1);
  std::fill(s.bound + at, s.bound + padded, kNeverSeen);
}

// A field of what is known of tokens, as rows of one number.
TokenRows<float> Field(const LshArguments& args, idx_t head, float LshToken::*field,
                       const TokenMap& tokens) {
  return {&(args.Token(head, 0).*field), sizeof(LshToken) / sizeof(float), tokens};
}

AmxLists ListsOf(const LshArguments& args, const LshScratch& s, idx_t phase, idx_t task) {
  const LshPlan& plan = args.plan;
  const idx_t r = task % plan.runs, head = task / plan.runs, b = args.Batch(head);
  const idx_t h = args.Head(head), first = plan.FirstChunk(phase, r);
  const idx_t last = plan.LastChunk(phase, r), begin = first - plan.before, end = last + plan.after;
  FillEntries(args, s, b, head, begin, end);
  AmxLists lists;
  QueryRows& queries = lists.queries;
  queries.tokens.narrow = args.Tokens(head, first);
  queries.count = plan.Begin(last - 1) + plan.Keys(last - 1) - plan.Begin(first);
  queries.head_row = (plan.drawn.Head(b, h, plan.H) * plan.rounds + phase) * plan.T;
  queries.q = HeadRows(args.qk, b, h, queries.tokens);
  queries.out = HeadRows(args.out, b, h, queries.tokens);
  queries.dout = HeadRows(args.dout, b, h, queries.tokens);
  queries.dq = HeadRows(args.gradients.dqk, b, h, queries.tokens);
  queries.delta = Field(args, head, &LshToken::delta, queries.tokens);
  KeyRows& keys = lists.keys;
  keys.count = (end - begin) * plan.chunk;
  keys.tokens.narrow = s.token;
  keys.bounds = s.bound;
  keys.later = plan.causal;
  keys.shared = true;
  keys.chunks = {plan.chunk, plan.parts, plan.before, 0, keys.count, keys.count};
  const auto entry = [&](idx_t chunk) {
    return (std::clamp(chunk, begin, end) - begin) * plan.chunk;
  };
  keys.round = entry(phase * plan.round_chunks);
  keys.round_end = entry((phase + 1) * plan.round_chunks);
  keys.k = HeadRows(args.qk, b, h, keys.tokens);
  keys.v = HeadRows(args.v, b, h, keys.tokens);
  keys.dk = HeadRows(args.gradients.dqk, b, h, keys.tokens);
  keys.dv = HeadRows(args.gradients.dv, b, h, keys.tokens);
  AmxShared& shared = lists.shared;
  shared.first = phase == 0;
  shared.last = phase == plan.phases - 1;
  shared.max = Field(args, head, &LshToken::max, queries.tokens);
  shared.sum = Field(args, head, &LshToken::sum, queries.tokens);
  if (args.accumulator != nullptr) {
    shared.sums = {args.Sums(head, 0), args.SumsStride(), queries.tokens};
  }
  shared.saved_max = HeadRows(args.max, b, h, queries.tokens);
  shared.saved_sum = HeadRows(args.sum, b, h, queries.tokens);
  // Without a halo all tokens are those of this task.
  shared.own = plan.halo > 0 ? entry(first) : 0;
  shared.own_end = plan.halo > 0 ? entry(last) : keys.count;
  return lists;
}

}  // namespace

bool LshRunsOnTiles(const LshPlan& plan) {
  return MultipliesTiles(plan.bf16) && AmxTakes(plan.D, 1.0f) && plan.before < plan.chunks &&
         plan.after < plan.chunks;
}

AmxPlan PlanLshForwardOnTiles(const LshPlan& plan) {
  // Long runs: a task is one thread's anyway.
  constexpr idx_t kManyHeads = kAmxMostRun * kAmxMostRun;
  const AmxReach reach = ReachOf(plan);
  AmxPlan amx = AmxPlanOf(plan);
  PlanAmxForward(LshEntries(plan), reach.left, reach.right, 0, kManyHeads, 1, &amx);
  return amx;
}

AmxPlan PlanLshBackwardOnTiles(const LshPlan& plan) {
  const AmxReach reach = ReachOf(plan);
  AmxPlan amx = AmxPlanOf(plan);
  PlanAmxBackward(plan.run * plan.chunk, reach.left, reach.right, &amx);
  return amx;
}

void LshForwardOnTiles(const LshArguments& args, const AmxPlan& amx, const LshScratch& scratch,
                       void* memory, idx_t phase, idx_t task) {
  const AmxLists lists = ListsOf(args, scratch, phase, task);
  const idx_t queries = lists.queries.count, run = amx.run * kAmxBlock;
  for (idx_t begin = 0; begin < queries; begin += run) {
    AmxForward(amx, lists, memory, {begin, std::min(queries, begin + run)});
  }
}

void LshBackwardOnTiles(const LshArguments& args, const AmxPlan& amx, const LshScratch& scratch,
                        void* memory, idx_t phase, idx_t task) {
  const LshPlan& plan = args.plan;
  AmxLists lists = ListsOf(args, scratch, phase, task);
  if (plan.halo > 0) {
    std::fill_n(args.side_used + task * plan.halo, plan.halo, std::uint8_t{1});
    lists.shared.side = args.Side(task, 0, 0);
    lists.shared.side_row = plan.row;
  }
  AmxBackward(amx, lists, memory, {0, lists.keys.count}, {0, lists.queries.count});
}

}  // namespace longspan
