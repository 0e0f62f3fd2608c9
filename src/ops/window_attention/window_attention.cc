#include "ops/window_attention/window_attention.h"

#include <cstddef>

#include "base/isa.h"
#include "ops/window_attention/window_amx.h"
#include "parallel/parallel_for.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/window_attention/window_attention.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/window_attention/window_attention-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(WindowForwardTask);
HWY_EXPORT(WindowForwardPairs);
HWY_EXPORT(WindowBackwardTask);
HWY_EXPORT(WindowBackwardPairs);
HWY_EXPORT(WindowGlobalKeysTask);
HWY_EXPORT(WindowGlobalSumTask);

namespace {

// A thread's scratch, at most. Forward a window that needs more passes by in blocks.
constexpr std::size_t kMostScratchBytes = 1 << 20;
// Query rows at a time where a wide window leaves no room for more.
constexpr idx_t kFewRows = 36;
// Global keys that stay packed beside a window.
constexpr idx_t kMostGlobalsBeside = 192;
// Query rows of a forward task: many, because each task packs the window around them too.
constexpr idx_t kRingRuns[] = {2048, 1024, 512, 256};
constexpr idx_t kBlockRuns[] = {768, 384, 192, 96};
// Tasks that keep 32 cores busy; what 16 cores need in a wave; parts of the global keys' queries.
constexpr idx_t kTasksWanted = 64, kTasksOfWave = 16, kPartsWanted = 32;
constexpr idx_t kLeastPart = 384;

// A ring for the window with `rows` queries at a time, room for the global keys beside it. Returns
// whether that fits.
bool PlanRing(WindowPlan& plan, idx_t globals, idx_t rows) {
  constexpr idx_t kUnit = BlockPlan::kPanelUnit;
  // What the rows of a block see lies in at most so many units of keys.
  const idx_t span = std::min(plan.left + plan.right + rows, plan.longest);
  TaskScratch& rings = plan.forward_rings;
  rings.keys.ring = std::min(CeilDiv(span - 1, kUnit) + 1, CeilDiv(plan.longest, kUnit)) * kUnit;
  rings.globals.ring = globals <= WindowPlan::kFewKeys ? 0 : RoundUp(globals, kUnit);
  plan.forward.rows = rows;
  plan.forward.score_stride = ScoreStride(rings.globals.ring + span + kUnit + BlockPlan::kRowUnit);
  return globals <= kMostGlobalsBeside &&
         TaskScratchBytes(plan.forward, rows, false, rings) <= kMostScratchBytes;
}

void PlanForward(WindowPlan& plan, idx_t globals) {
  TaskScratch& rings = plan.forward_rings;
  plan.ring = PlanRing(plan, globals, BlockPlan::kRows) || PlanRing(plan, globals, kFewRows);
  if (!plan.ring) {
    plan.forward.rows = BlockPlan::kRows;
    rings.globals.ring = 0;
    rings.keys.ring = BlockKeys(plan.forward.D);
    plan.forward.score_stride = ScoreStride(rings.keys.ring + BlockPlan::kRowUnit);
  }
  for (const idx_t run : plan.ring ? kRingRuns : kBlockRuns) {
    plan.run = std::min(plan.longest, run);
    plan.runs = CeilDiv(plan.longest, plan.run);
    plan.forward_rows = plan.ring ? plan.forward.rows : plan.run;
    const bool fits =
        TaskScratchBytes(plan.forward, plan.forward_rows, false, rings) <= kMostScratchBytes;
    if (fits && plan.Sequences() * plan.runs >= kTasksWanted) return;
  }
}

// `keys` of a backward task lie packed at a time. Returns what a thread's scratch takes.
std::size_t PackBackwardKeys(WindowPlan& plan, idx_t keys) {
  plan.backward_rings.keys.ring = keys;
  plan.backward.score_stride = ScoreStride(keys + BlockPlan::kRowUnit);
  return TaskScratchBytes(plan.backward, BlockPlan::kRows, true, plan.backward_rings);
}

// Each query that sees some of the packed keys is gathered and packed once more for them, so twice
// as many save 3 to 5 % of forward and backward. With AVX-512 comes an L2 cache that has room for
// them (a fixed rule: bits follow from it). Short sequences of few heads rather have more tasks.
void PlanBackwardKeys(WindowPlan& plan) {
  const idx_t keys = BlockKeys(plan.backward.D), many = 2 * keys;
  const bool fills = CeilDiv(plan.longest, many) * plan.Sequences() >= 2 * kTasksOfWave;
  if (ActiveIsa() >= Isa::kAvx512 && fills && PackBackwardKeys(plan, many) <= kMostScratchBytes) {
    return;
  }
  PackBackwardKeys(plan, keys);
}

void PlanBackward(WindowPlan& plan, idx_t globals) {
  PlanBackwardKeys(plan);
  PlanGroups(plan.backward_rings.keys.ring, &plan);
  if (globals == 0) return;
  const idx_t heads = plan.B * plan.H;
  const idx_t part = RoundUp(CeilDiv(plan.T, CeilDiv(kPartsWanted, heads)), BlockPlan::kRows);
  plan.part = std::max(part, kLeastPart);
  plan.parts = CeilDiv(plan.T, plan.part);
}

// What both directions ask of their arguments.
template <class T>
WindowArguments CheckArguments(const WindowSpec& spec, const QkvOf<T>& qkv, const TokenRoles& roles,
                               const AttentionSavedOf<T>& saved) {
  const auto& shape = qkv.q.extent;
  CheckWindowCall(spec, shape, "q", roles, saved);
  CheckWindow.Inputs(qkv);
  WindowArguments args;
  args.q = qkv.q;
  args.k = qkv.k;
  args.v = qkv.v;
  args.roles = roles;
  args.out = saved.out;
  args.lse = saved.lse;
  args.globals = GlobalTokensOf(spec, roles, shape[0]);
  args.plan = MakeWindowPlan(spec, shape, args.globals.most);
  return args;
}

// The global keys with all local queries, kGlobalKeys at a time.
void BackwardGlobalKeys(Context& context, WindowArguments& args, Arena::Frame& frame,
                        const std::vector<TaskScratch>& scratch) {
  const WindowPlan& plan = args.plan;
  const idx_t heads = plan.B * plan.H, tasks = heads * plan.parts;
  if (plan.parts > 1) {
    args.side = frame.Take<float>(tasks * 2 * args.side_keys * plan.backward.row);
    args.side_used = frame.Take<std::uint8_t>(tasks);
  }
  for (idx_t first = 0; first < args.globals.most; first += WindowPlan::kGlobalKeys) {
    ParallelFor(context, tasks, [&](idx_t task, int thread) {
      HWY_DYNAMIC_DISPATCH(WindowGlobalKeysTask)
      (args, scratch[static_cast<std::size_t>(thread)], first, task);
    });
    if (plan.parts == 1) continue;
    ParallelFor(context, heads, [&](idx_t head, int) {
      HWY_DYNAMIC_DISPATCH(WindowGlobalSumTask)(args, first, head);
    });
  }
}

std::size_t SideBytes(const WindowArguments& args) {
  const WindowPlan& plan = args.plan;
  if (plan.parts <= 1) return 0;
  const idx_t tasks = plan.B * plan.H * plan.parts;
  return Arena::Bytes<float>(tasks * 2 * args.side_keys * plan.backward.row) +
         Arena::Bytes<std::uint8_t>(tasks);
}

}  // namespace

void PlanGroups(idx_t unit, WindowPlan* plan) {
  const idx_t wanted = CeilDiv(kTasksWanted, plan->Sequences());
  plan->group = plan->longest;
  plan->alternate = false;
  if (wanted > 1) {
    // Alternating groups are as long as a window: the queries that see one of them see none of the
    // next but one. Wide windows leave too few of those.
    const idx_t reach = std::max(plan->left + plan->right, CeilDiv(plan->longest, 2 * wanted));
    const idx_t alternating = RoundUp(std::max<idx_t>(reach, 1), unit);
    const idx_t pairs = RoundUp(CeilDiv(plan->longest, wanted), unit);
    const idx_t at_once = CeilDiv(plan->longest, alternating) / 2;
    plan->alternate = at_once >= std::min(CeilDiv(plan->longest, pairs),
                                          CeilDiv(kTasksOfWave, plan->Sequences()));
    plan->group = plan->alternate ? alternating : pairs;
  }
  plan->groups = CeilDiv(plan->longest, plan->group);
  plan->alternate = plan->alternate && plan->groups > 1;
}

WindowPlan MakeWindowPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape,
                          idx_t globals) {
  WindowPlan plan;
  plan.B = shape[0];
  plan.H = shape[1];
  plan.T = shape[2];
  plan.forward = plan.backward = MakeBlockPlan(spec, plan.T, shape[3]);
  plan.left = spec.Left(plan.T);
  plan.right = spec.Right(plan.T);
  plan.causal = spec.causal;
  plan.first_sequence.push_back(0);
  for (idx_t h = 0; h < plan.H; ++h) {
    const idx_t dilation = spec.dilation.empty() ? 1 : spec.dilation[static_cast<std::size_t>(h)];
    plan.dilation.push_back(std::min(dilation, plan.T));
    plan.first_sequence.push_back(plan.first_sequence.back() + plan.dilation.back());
    plan.longest = std::max(plan.longest, CeilDiv(plan.T, plan.dilation.back()));
  }
  PlanForward(plan, globals);
  PlanBackward(plan, globals);
  return plan;
}

namespace {

void RunForward(Context& context, const WindowArguments& args) {
  const WindowPlan& plan = args.plan;
  if (RunsOnTiles(args)) return AmxWindowForward(context, args);
  const std::size_t bytes =
      TaskScratchBytes(plan.forward, plan.forward_rows, false, plan.forward_rings);
  Arena::Frame frame(context.arena(), bytes * static_cast<std::size_t>(context.threads()));
  const auto scratch =
      TakeTaskScratch(context, frame, plan.forward, plan.forward_rows, false, plan.forward_rings);
  const bool pairs = MultipliesPairs(args.q.bf16);
  ParallelFor(context, plan.Sequences() * plan.runs, [&](idx_t task, int thread) {
    const TaskScratch& s = scratch[static_cast<std::size_t>(thread)];
    if (pairs) return HWY_DYNAMIC_DISPATCH(WindowForwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(WindowForwardTask)(args, s, task);
  });
}

void RunBackward(Context& context, WindowArguments& args) {
  const WindowPlan& plan = args.plan;
  args.side_keys = std::min(args.globals.most, WindowPlan::kGlobalKeys);
  const std::size_t bytes =
      TaskScratchBytes(plan.backward, BlockPlan::kRows, true, plan.backward_rings);
  Arena::Frame frame(context.arena(),
                     bytes * static_cast<std::size_t>(context.threads()) + SideBytes(args));
  const auto scratch =
      TakeTaskScratch(context, frame, plan.backward, BlockPlan::kRows, true, plan.backward_rings);
  const bool pairs = MultipliesPairs(args.q.bf16), on_tiles = RunsOnTiles(args);
  if (on_tiles) AmxWindowBackward(context, args);
  for (idx_t wave = 0; !on_tiles && wave < plan.Waves(); ++wave) {
    const idx_t tasks = plan.Sequences() * plan.PairsOfWave(wave);
    ParallelFor(context, tasks, [&](idx_t task, int thread) {
      const TaskScratch& s = scratch[static_cast<std::size_t>(thread)];
      if (pairs) return HWY_DYNAMIC_DISPATCH(WindowBackwardPairs)(args, s, wave, task);
      HWY_DYNAMIC_DISPATCH(WindowBackwardTask)(args, s, wave, task);
    });
  }
  if (args.globals.most > 0) BackwardGlobalKeys(context, args, frame, scratch);
}

template <class T>
void CheckAndRunBackward(Context& context, const WindowSpec& spec, const QkvOf<T>& qkv,
                         const TokenRoles& roles, const AttentionSavedOf<T>& saved,
                         const View<const T, 4>& dout, const DQkv& gradients) {
  WindowArguments args = CheckArguments(spec, qkv, roles, saved);
  CheckWindow.Backward(dout, gradients, qkv.q.extent);
  args.dout = dout;
  args.gradients = gradients;
  RunBackward(context, args);
}

}  // namespace

void WindowForward(Context& context, const WindowSpec& spec, const Qkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, qkv, roles, saved));
}

void WindowForward(Context& context, const WindowSpec& spec, const Bf16Qkv& qkv,
                   const TokenRoles& roles, const Bf16AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, qkv, roles, saved));
}

void WindowBackward(Context& context, const WindowSpec& spec, const Qkv& qkv,
                    const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, roles, saved, dout, gradients);
}

void WindowBackward(Context& context, const WindowSpec& spec, const Bf16Qkv& qkv,
                    const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, roles, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
