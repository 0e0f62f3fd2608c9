#include "ops/full_attention/full_attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "base/arena.h"
#include "base/errors.h"
#include "base/isa.h"
#include "base/scratch_layout.h"
#include "ops/attention_call.h"
#include "ops/full_attention/full_amx.h"
#include "ops/side_by_side.h"

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

void CheckSpec(const FullSpec& spec, const std::array<idx_t, 4>& shape) {
  CheckCall.Scale(spec.scale);
  CheckCall.Dropout(spec.dropout);
  CheckCall.Texts(spec.starts, shape);
}

// What both directions ask of their arguments. Returns them as the tasks want them.
template <class T>
FullArguments CheckArguments(const FullSpec& spec, const QkvOf<T>& qkv, const KeyMask& mask,
                             const AttentionSavedOf<T>& saved) {
  CheckCall.Separate(qkv, mask, saved);
  CheckSpec(spec, qkv.q.extent);
  FullArguments args;
  args.q = qkv.q;
  args.k = qkv.k;
  args.v = qkv.v;
  args.mask = mask;
  args.out = saved.out;
  args.lse = saved.lse;
  args.delta = saved.delta;
  return args;
}

template <class T>
FullArguments CheckSharedArguments(const FullSpec& spec, const SharedQkvOf<T>& qkv,
                                   const KeyMask& mask, const SharedSavedOf<T>& saved) {
  CheckCall.Shared(qkv, mask, saved);
  CheckSpec(spec, qkv.qk.extent);
  Check(spec.scale == 0.0f, ErrorCode::kUsage,
        "full attention: scale {} in the shared form, which has its own: expected 0", spec.scale);
  FullArguments args;
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

// Where the first visible key of each row is.
void FindVisible(const FullArguments& args) {
  for (idx_t b = 0; b < args.plan.B; ++b) {
    idx_t first = 0;
    while (first < args.plan.T && args.mask(b, first) == 0) ++first;
    args.first_visible[b] = first;
  }
}

// What calls that run together book: a scratch for each thread, and what their tasks share.
struct Booking {
  Booking(Context& context, std::span<FullArguments> calls, bool is_backward)
      : backward(is_backward),
        each(Largest(calls, backward)),
        frame(context.arena(), each * static_cast<std::size_t>(context.threads()) + Masks(calls)),
        scratch(context, frame, each) {
    for (FullArguments& args : calls) {
      if (args.mask.empty()) continue;
      args.first_visible = frame.Take<idx_t>(args.plan.B);
      FindVisible(args);
    }
  }
  const FullScratch& Scratch(const FullPlan& plan, std::size_t call, int thread) {
    return scratch.Of(call, thread, [&](void* at) { return LayoutOf(plan, backward).At(at); });
  }

 private:
  static std::size_t Largest(std::span<const FullArguments> calls, bool backward) {
    std::size_t most = 0;
    if (RunsOnTiles(calls.front().plan)) return 0;  // the tile unit books its own
    for (const auto& args : calls) most = std::max(most, LayoutOf(args.plan, backward).Bytes());
    return most;
  }
  static std::size_t Masks(std::span<const FullArguments> calls) {
    if (calls.front().mask.empty()) return 0;
    return calls.size() * Arena::Bytes<idx_t>(calls.front().plan.B);
  }

  bool backward;
  std::size_t each;
  Arena::Frame frame;
  ThreadScratch<FullScratch> scratch;
};

// Keys of the shared form are normalised in fp32, so they are no pairs.
bool RunsInPairs(const FullPlan& plan) { return MultipliesPairs(plan.bf16) && !plan.shared; }

void RunForward(Context& context, std::span<FullArguments> calls) {
  Booking booking(context, calls, false);
  if (RunsOnTiles(calls.front().plan)) return AmxFullForward(context, calls);
  const bool pairs = RunsInPairs(calls.front().plan);
  const auto count = [&](std::size_t call) { return calls[call].plan.ForwardTasks(); };
  ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
    const FullArguments& args = calls[call];
    const FullScratch& s = booking.Scratch(args.plan, call, thread);
    if (pairs) return HWY_DYNAMIC_DISPATCH(FullForwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(FullForwardTask)(args, s, task);
  });
}

void RunBackward(Context& context, std::span<FullArguments> calls) {
  Booking booking(context, calls, true);
  if (RunsOnTiles(calls.front().plan)) return AmxFullBackward(context, calls);
  const bool pairs = RunsInPairs(calls.front().plan);
  idx_t waves = 0;
  for (const FullArguments& args : calls) waves = std::max(waves, args.plan.Waves());
  for (idx_t wave = 0; wave < waves; ++wave) {
    const auto count = [&](std::size_t call) {
      const FullPlan& plan = calls[call].plan;
      return wave < plan.Waves() ? plan.B * plan.H * plan.PairsOfWave(wave) : 0;
    };
    ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
      const FullArguments& args = calls[call];
      const FullScratch& s = booking.Scratch(args.plan, call, thread);
      if (pairs) return HWY_DYNAMIC_DISPATCH(FullBackwardPairs)(args, s, wave, task);
      HWY_DYNAMIC_DISPATCH(FullBackwardTask)(args, s, wave, task);
    });
  }
}

// The call of one text, but for its plan.
FullArguments PartOf(const FullArguments& row, const TextOfRow& text) {
  FullArguments args = row;
  const auto part = [&](const auto& view, std::size_t axis) {
    return Part(view, axis, text.begin, text.length);
  };
  args.q = part(row.q, 2);
  args.k = part(row.k, 2);
  args.v = part(row.v, 2);
  args.mask = part(row.mask, 1);
  args.out = part(row.out, 2);
  args.lse = part(row.lse, 2);
  args.max = part(row.max, 2);
  args.sum = part(row.sum, 2);
  args.delta = part(row.delta, 2);
  args.dout = part(row.dout, 2);
  args.dq = part(row.dq, 2);
  args.dk = part(row.dk, 2);
  args.dv = part(row.dv, 2);
  return args;
}

// Plans and runs a call, or the calls of its texts together.
void Run(Context& context, const FullSpec& spec, FullArguments args, bool shared, bool backward) {
  const auto run = backward ? RunBackward : RunForward;
  if (spec.starts.empty()) {
    args.plan = MakeFullPlan(spec, args.q, shared);
    return run(context, {&args, 1});
  }
  std::vector<FullArguments> calls;
  calls.reserve(spec.starts.size());
  for (const TextOfRow& text : TextsInOrder(spec.starts)) {
    FullArguments part = PartOf(args, text);
    const bool planned = !calls.empty() && calls.back().plan.T == text.length;
    part.plan = planned ? calls.back().plan : MakeFullPlan(spec, part.q, shared);
    part.plan.drawn = text.Draw(spec.dropout);
    part.plan.dropout.key = part.plan.drawn.key;
    calls.push_back(part);
  }
  run(context, calls);
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
  const idx_t tasks = TasksWanted(kTasksWanted, plan.T, !spec.starts.empty());
  for (const idx_t run : kRuns) {
    plan.run = std::min(plan.T, run);
    plan.runs = CeilDiv(plan.T, plan.run);
    if (heads * plan.runs >= tasks) break;
  }
  const idx_t wanted = heads >= tasks ? 1 : 2 * CeilDiv(tasks, heads);
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
  Run(context, spec, CheckArguments(spec, qkv, mask, saved), false, false);
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
  Run(context, spec, args, false, true);
}

template <class T>
void CheckAndRunSharedBackward(Context& context, const FullSpec& spec, const SharedQkvOf<T>& qkv,
                               const KeyMask& mask, const SharedSavedOf<T>& saved,
                               const View<const T, 4>& dout, const DSharedQkv& gradients) {
  FullArguments args = CheckSharedArguments(spec, qkv, mask, saved);
  CheckCall.Backward(dout, gradients, qkv.qk.extent);
  args.dout = dout;
  args.dq = gradients.dqk;
  args.dk = gradients.dqk;
  args.dv = gradients.dv;
  Run(context, spec, args, true, true);
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
  Run(context, spec, CheckSharedArguments(spec, qkv, mask, saved), true, false);
}

void FullSharedForward(Context& context, const FullSpec& spec, const Bf16SharedQkv& qkv,
                       const KeyMask& mask, const Bf16SharedSaved& saved) {
  Run(context, spec, CheckSharedArguments(spec, qkv, mask, saved), true, false);
}

void FullSharedBackward(Context& context, const FullSpec& spec, const SharedQkv& qkv,
                        const KeyMask& mask, const SharedSaved& saved,
                        const View<const float, 4>& dout, const DSharedQkv& gradients) {
  CheckAndRunSharedBackward(context, spec, qkv, mask, saved, dout, gradients);
}

void FullSharedBackward(Context& context, const FullSpec& spec, const Bf16SharedQkv& qkv,
                        const KeyMask& mask, const Bf16SharedSaved& saved,
                        const View<const bfloat16, 4>& dout, const DSharedQkv& gradients) {
  CheckAndRunSharedBackward(context, spec, qkv, mask, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
