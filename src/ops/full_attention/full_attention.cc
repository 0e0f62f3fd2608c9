#include "ops/full_attention/full_attention.h"

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/isa.h"
#include "base/scratch_layout.h"
#include "ops/attention_call.h"
#include "ops/full_attention/full_amx.h"
#include "parallel/parallel_for.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/full_attention/full_attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/full_attention/full_attention-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(FullForwardTask);
HWY_EXPORT(FullForwardPairs);
HWY_EXPORT(FullBackwardTask);
HWY_EXPORT(FullBackwardPairs);

namespace {

// Keys of a block: whole tiles and whole panels of 64. Its panels, gradients and scores fill
// about half of a 512 KB L2 cache at D = 64.
constexpr idx_t kKeys = 192;
constexpr idx_t kKeysOfLargeHeads = 96;
constexpr idx_t kLargeHead = 96;
// Query rows at a time, whole tiles.
constexpr idx_t kBlockRows = 48;
// With AVX-512 comes an L2 cache that holds twice as many of small heads: 4 % faster. A fixed rule,
// since bits follow from it.
constexpr idx_t kManyKeys = 384, kManyRows = 72;
constexpr idx_t kSmallHead = 64;
// What 16 cores need so that none waits long.
constexpr idx_t kTasksWanted = 32;
// Query rows of a forward task: many, because each task packs all keys that it sees.
constexpr idx_t kRuns[] = {768, 384, 192, 96};
// Tokens of a backward group, at least and in steps of: a whole key block, whole dropout groups.
constexpr idx_t kLeastGroup = 192;
constexpr idx_t kGroupUnit = 64;

constexpr AttentionCheck CheckCall{{"full attention"}};

// What both directions ask of their arguments. Returns them as the tasks want them.
template <class T>
FullArguments CheckArguments(const FullSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
                             const AttentionSavedOf<T>& saved) {
  CheckCall.Separate(qkv, mask, saved);
  CheckCall.Scale(spec.scale);
  CheckCall.Dropout(spec.dropout);
  FullArguments args;
  args.plan = MakeFullPlan(spec, qkv.q, false);
  args.q = qkv.q;
  args.k = qkv.k;
  args.v = qkv.v;
  args.mask = mask;
  args.out = saved.out;
  args.lse = saved.lse;
  args.delta = saved.delta;
  return args;
}

FullArguments CheckSharedArguments(const FullSpec& spec, const SharedQkv& qkv, const KeyMask& mask,
                                   const SharedSaved& saved) {
  CheckCall.Shared(qkv, mask, saved);
  CheckCall.Scale(spec.scale);
  CheckCall.Dropout(spec.dropout);
  Check(spec.scale == 0.0f, ErrorCode::kUsage,
        "full attention: scale {} in the shared form, which has its own: expected 0", spec.scale);
  FullArguments args;
  args.plan = MakeFullPlan(spec, qkv.qk, true);
  args.q = qkv.qk;
  args.k = qkv.qk;
  args.v = qkv.v;
  args.mask = mask;
  args.out = saved.out;
  args.max = saved.max;
  args.sum = saved.sum;
  args.delta = saved.delta;
  return args;
}

// The arrays of a thread's scratch.
auto LayoutOf(const FullPlan& plan, bool backward) {
  return ScratchLayout(FullScratch{}, [&plan, backward](FullScratch& s, const auto& take) {
    const idx_t transposed = RoundUp(plan.keys, FullPlan::kPanelUnit) * plan.D;
    const idx_t wide = RoundUp(plan.D, FullPlan::kPanelUnit);
    const idx_t rows = backward ? plan.block : plan.run;
    take(s.key_panels, transposed);
    take(s.value_panels, backward ? transposed : plan.keys * wide);
    take(s.visible, plan.columns);
    if (plan.shared || plan.bf16) take(s.keys, plan.keys * plan.row);
    take(s.queries, rows * plan.row);
    take(s.scores, plan.block * plan.score_stride);
    take(s.output, rows * plan.row);
    if (!backward) {
      take(s.max, rows);
      take(s.sum, rows);
      return;
    }
    take(s.key_rows, plan.keys * wide);
    take(s.dk, plan.columns * plan.row);
    take(s.dv, plan.columns * plan.row);
    take(s.douts, rows * plan.row);
    take(s.dscores, plan.block * plan.score_stride);
    take(s.query_panels, plan.block * wide);
    take(s.dout_panels, plan.block * wide);
    take(s.factors, plan.columns);
    if (plan.bf16) take(s.pairs, plan.block * plan.score_stride / 2);
  });
}

// Bytes of everything that one call books, but for the tile unit's scratch.
std::size_t CallBytes(const Context& context, const FullArguments& args, bool backward) {
  const std::size_t each = RunsOnTiles(args.plan) ? 0 : LayoutOf(args.plan, backward).Bytes();
  return each * static_cast<std::size_t>(context.threads()) +
         (args.mask.empty() ? 0 : Arena::Bytes<idx_t>(args.plan.B));
}

// One scratch per thread, and what the tasks share.
std::vector<FullScratch> TakeScratch(const Context& context, Arena::Frame& frame,
                                     FullArguments& args, bool backward) {
  std::vector<FullScratch> each;
  if (!RunsOnTiles(args.plan))
    each = LayoutOf(args.plan, backward).TakeEach(frame, context.threads());
  if (args.mask.empty()) return each;
  args.first_visible = frame.Take<idx_t>(args.plan.B);
  for (idx_t b = 0; b < args.plan.B; ++b) {
    idx_t first = 0;
    while (first < args.plan.T && args.mask(b, first) == 0) ++first;
    args.first_visible[b] = first;
  }
  return each;
}

void RunForward(Context& context, FullArguments& args) {
  Arena::Frame frame(context.arena(), CallBytes(context, args, false));
  const auto scratch = TakeScratch(context, frame, args, false);
  if (RunsOnTiles(args.plan)) return AmxFullForward(context, args);
  const bool pairs = MultipliesPairs(args.plan.bf16);
  ParallelFor(context, args.plan.ForwardTasks(), [&](idx_t task, int thread) {
    const FullScratch& s = scratch[static_cast<std::size_t>(thread)];
    if (pairs) return HWY_DYNAMIC_DISPATCH(FullForwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(FullForwardTask)(args, s, task);
  });
}

void RunBackward(Context& context, FullArguments& args) {
  const FullPlan& plan = args.plan;
  Arena::Frame frame(context.arena(), CallBytes(context, args, true));
  const auto scratch = TakeScratch(context, frame, args, true);
  if (RunsOnTiles(plan)) return AmxFullBackward(context, args);
  const bool pairs = MultipliesPairs(plan.bf16);
  for (idx_t wave = 0; wave < plan.Waves(); ++wave) {
    const idx_t tasks = plan.B * plan.H * plan.PairsOfWave(wave);
    ParallelFor(context, tasks, [&](idx_t task, int thread) {
      const FullScratch& s = scratch[static_cast<std::size_t>(thread)];
      if (pairs) return HWY_DYNAMIC_DISPATCH(FullBackwardPairs)(args, s, wave, task);
      HWY_DYNAMIC_DISPATCH(FullBackwardTask)(args, s, wave, task);
    });
  }
}

}  // namespace

FullPlan MakeFullPlan(const FullSpec& spec, const InView& q, bool shared) {
  FullPlan plan;
  plan.B = q.extent[0];
  plan.H = q.extent[1];
  plan.T = q.extent[2];
  plan.D = q.extent[3];
  plan.causal = spec.causal;
  plan.shared = shared;
  plan.bf16 = q.bf16;
  const float root = 1.0f / std::sqrt(static_cast<float>(plan.D));
  plan.query_scale = shared ? 1.0f : (spec.scale != 0.0f ? spec.scale : root);
  plan.dropout = {spec.dropout.p, spec.dropout.key};
  plan.drawn = spec.dropout;

  const idx_t heads = plan.B * plan.H;
  for (const idx_t run : kRuns) {
    plan.run = std::min(plan.T, run);
    plan.runs = CeilDiv(plan.T, plan.run);
    if (heads * plan.runs >= kTasksWanted) break;
  }
  const idx_t wanted = heads >= kTasksWanted ? 1 : 2 * CeilDiv(kTasksWanted, heads);
  plan.groups = std::min(wanted, CeilDiv(plan.T, kLeastGroup));
  plan.group = RoundUp(CeilDiv(plan.T, plan.groups), kGroupUnit);
  plan.groups = CeilDiv(plan.T, plan.group);

  const bool many = ActiveIsa() >= Isa::kAvx512 && plan.D <= kSmallHead && plan.group >= kManyKeys;
  const idx_t few = plan.D > kLargeHead ? kKeysOfLargeHeads : kKeys;
  plan.keys = std::min(plan.T, many ? kManyKeys : few);
  plan.block = std::min(plan.T, many ? kManyRows : kBlockRows);
  plan.columns = RoundUp(plan.keys, FullPlan::kRowUnit);
  plan.row = RoundUp(plan.D, FullPlan::kRowUnit);
  // An odd number of cache lines a row: columns of scores spread over all sets of the cache.
  plan.score_stride = (plan.columns / FullPlan::kRowUnit | 1) * FullPlan::kRowUnit;
  return plan;
}

namespace {

template <class T>
void CheckAndRunForward(Context& context, const FullSpec& spec, const QkvOf<T>& qkv,
                        const KeyMask& mask, const AttentionSavedOf<T>& saved) {
  FullArguments args = CheckArguments(spec, qkv, mask, saved);
  RunForward(context, args);
}

template <class T>
void CheckAndRunBackward(Context& context, const FullSpec& spec, const QkvOf<T>& qkv,
                         const KeyMask& mask, const AttentionSavedOf<T>& saved,
                         const View<const T, 4>& dout, const DQkv& gradients) {
  FullArguments args = CheckArguments(spec, qkv, mask, saved);
  CheckCall.Backward(dout, gradients, qkv.q.extent);
  args.dout = dout;
  args.dq = gradients.dq;
  args.dk = gradients.dk;
  args.dv = gradients.dv;
  RunBackward(context, args);
}

}  // namespace

void FullForward(Context& context, const FullSpec& spec, const Qkv& qkv, const KeyMask& mask,
                 const AttentionSaved& saved) {
  CheckAndRunForward(context, spec, qkv, mask, saved);
}

void FullForward(Context& context, const FullSpec& spec, const Bf16Qkv& qkv, const KeyMask& mask,
                 const Bf16AttentionSaved& saved) {
  CheckAndRunForward(context, spec, qkv, mask, saved);
}

void FullBackward(Context& context, const FullSpec& spec, const Qkv& qkv, const KeyMask& mask,
                  const AttentionSaved& saved, const View<const float, 4>& dout,
                  const DQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, mask, saved, dout, gradients);
}

void FullBackward(Context& context, const FullSpec& spec, const Bf16Qkv& qkv, const KeyMask& mask,
                  const Bf16AttentionSaved& saved, const View<const bfloat16, 4>& dout,
                  const DQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, mask, saved, dout, gradients);
}

void FullSharedForward(Context& context, const FullSpec& spec, const SharedQkv& qkv,
                       const KeyMask& mask, const SharedSaved& saved) {
  FullArguments args = CheckSharedArguments(spec, qkv, mask, saved);
  RunForward(context, args);
}

void FullSharedBackward(Context& context, const FullSpec& spec, const SharedQkv& qkv,
                        const KeyMask& mask, const SharedSaved& saved,
                        const View<const float, 4>& dout, const DSharedQkv& gradients) {
  FullArguments args = CheckSharedArguments(spec, qkv, mask, saved);
  CheckCall.Backward(dout, gradients, qkv.qk.extent);
  args.dout = dout;
  args.dq = gradients.dqk;
  args.dk = gradients.dqk;
  args.dv = gradients.dv;
  RunBackward(context, args);
}

}  // namespace longspan
#endif  // HWY_ONCE
