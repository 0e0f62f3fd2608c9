#include "ops/window_attention/window_attention.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/isa.h"
#include "ops/side_by_side.h"
#include "ops/window_attention/slab_check.h"
#include "ops/window_attention/window_amx.h"

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

// Of those, as many as the plan's text wants.
idx_t Wanted(const WindowPlan& plan, idx_t alone) {
  return TasksWanted(alone, plan.T, plan.beside);
}

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
    if (fits && plan.Sequences() * plan.runs >= Wanted(plan, kTasksWanted)) return;
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
  const idx_t tasks = 2 * Wanted(plan, kTasksOfWave);
  const bool fills = CeilDiv(plan.longest, many) * plan.Sequences() >= tasks;
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
  const idx_t parts = CeilDiv(Wanted(plan, kPartsWanted), heads);
  plan.part = std::max(RoundUp(CeilDiv(plan.T, parts), BlockPlan::kRows), kLeastPart);
  plan.parts = CeilDiv(plan.T, plan.part);
}

// What both directions ask of their arguments. `slab`: null, the whole row.
template <class T>
WindowArguments CheckArguments(const WindowSpec& spec, const WindowSlab* slab, const QkvOf<T>& qkv,
                               const TokenRoles& roles, const AttentionSavedOf<T>& saved) {
  const auto& shape = qkv.q.extent;
  if (slab != nullptr) {
    CheckWindowSlab(spec, *slab, shape, roles);
    CheckWindowCall(spec, shape, "q", {}, saved);
    CheckSlabQkv(*slab, qkv);
  } else {
    CheckWindowCall(spec, shape, "q", roles, saved);
    CheckWindow.Inputs(qkv);
  }
  WindowArguments args;
  args.q = qkv.q;
  args.k = qkv.k;
  args.v = qkv.v;
  args.roles = roles;
  args.out = saved.out;
  args.lse = saved.lse;
  args.globals = slab != nullptr ? GlobalKeysOf(*slab) : GlobalTokensOf(spec, roles, shape[0]);
  return args;
}

}  // namespace

void PlanGroups(idx_t unit, WindowPlan* plan) {
  const idx_t wanted = CeilDiv(Wanted(*plan, kTasksWanted), plan->Sequences());
  plan->group = plan->longest;
  plan->alternate = false;
  if (wanted > 1) {
    // Alternating groups are as long as a window: the queries that see one of them see none of the
    // next but one. Wide windows leave too few of those.
    const idx_t reach = std::max(plan->left + plan->right, CeilDiv(plan->longest, 2 * wanted));
    const idx_t alternating = RoundUp(std::max<idx_t>(reach, 1), unit);
    const idx_t pairs = RoundUp(CeilDiv(plan->longest, wanted), unit);
    const idx_t at_once = CeilDiv(plan->longest, alternating) / 2;
    const idx_t of_wave = CeilDiv(Wanted(*plan, kTasksOfWave), plan->Sequences());
    plan->alternate = at_once >= std::min(CeilDiv(plan->longest, pairs), of_wave);
    plan->group = plan->alternate ? alternating : pairs;
  }
  plan->groups = CeilDiv(plan->longest, plan->group);
  plan->alternate = plan->alternate && plan->groups > 1;
}

WindowPlan MakeWindowPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape, idx_t globals,
                          const WindowSlab* slab) {
  WindowPlan plan;
  plan.B = shape[0];
  plan.H = shape[1];
  plan.T = shape[2];
  plan.drawn = spec.dropout;
  plan.beside = !spec.starts.empty();
  plan.slab = slab != nullptr;
  plan.first_query = plan.slab ? slab->before : 0;
  plan.last_query = plan.slab ? slab->before + slab->Queries() : plan.T;
  plan.row_tokens = plan.slab ? slab->tokens : plan.T;
  plan.row_begin = plan.slab ? slab->begin - slab->before : 0;
  plan.forward = plan.backward = MakeBlockPlan(spec, plan.row_tokens, shape[3]);
  plan.left = spec.Left(plan.row_tokens);
  plan.right = spec.Right(plan.row_tokens);
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

// Bytes of scratch that a thread needs for a task of one of the calls.
std::size_t ScratchBytes(std::span<const WindowArguments> calls, bool backward) {
  std::size_t most = 0;
  for (const WindowArguments& args : calls) {
    const WindowPlan& p = args.plan;
    most = std::max(
        most, backward ? TaskScratchBytes(p.backward, BlockPlan::kRows, true, p.backward_rings)
                       : TaskScratchBytes(p.forward, p.forward_rows, false, p.forward_rings));
  }
  return most;
}

// Parts of the global keys' queries leave sums of their own.
bool HasSides(const WindowArguments& args) { return args.plan.parts > 1; }
idx_t SideTasks(const WindowArguments& args) { return args.plan.B * args.plan.H * args.plan.parts; }
idx_t SideFloats(const WindowArguments& args) {
  return SideTasks(args) * 2 * args.side_keys * args.plan.backward.row;
}
std::size_t SideBytes(std::span<const WindowArguments> calls) {
  std::size_t bytes = 0;
  for (const WindowArguments& args : calls) {
    if (!HasSides(args)) continue;
    bytes += Arena::Bytes<float>(SideFloats(args)) + Arena::Bytes<std::uint8_t>(SideTasks(args));
  }
  return bytes;
}

void RunForward(Context& context, std::span<WindowArguments> calls) {
  if (RunsOnTiles(calls.front())) return AmxWindowForward(context, calls);
  const std::size_t bytes = ScratchBytes(calls, false);
  Arena::Frame frame(context.arena(), bytes * static_cast<std::size_t>(context.threads()));
  ThreadScratch<TaskScratch> scratch(context, frame, bytes);
  const bool pairs = MultipliesPairs(calls.front().q.bf16);
  const auto count = [&](std::size_t call) {
    return calls[call].plan.Sequences() * calls[call].plan.runs;
  };
  ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
    const WindowArguments& args = calls[call];
    const TaskScratch& s = scratch.Of(call, thread, [&](void* at) {
      const WindowPlan& plan = args.plan;
      return TaskScratchAt(at, plan.forward, plan.forward_rows, false, plan.forward_rings);
    });
    if (pairs) return HWY_DYNAMIC_DISPATCH(WindowForwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(WindowForwardTask)(args, s, task);
  });
}

// scratch(call, thread): a TaskScratch.
template <class Scratch>
void BackwardWindows(Context& context, std::span<const WindowArguments> calls,
                     const Scratch& scratch) {
  const bool pairs = MultipliesPairs(calls.front().q.bf16);
  idx_t waves = 0;
  for (const WindowArguments& args : calls) waves = std::max(waves, args.plan.Waves());
  for (idx_t wave = 0; wave < waves; ++wave) {
    const auto count = [&](std::size_t call) {
      const WindowPlan& plan = calls[call].plan;
      return wave < plan.Waves() ? plan.Sequences() * plan.PairsOfWave(wave) : 0;
    };
    ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
      const WindowArguments& args = calls[call];
      const TaskScratch& s = scratch(call, thread);
      if (pairs) return HWY_DYNAMIC_DISPATCH(WindowBackwardPairs)(args, s, wave, task);
      HWY_DYNAMIC_DISPATCH(WindowBackwardTask)(args, s, wave, task);
    });
  }
}

// The global keys with all local queries, kGlobalKeys at a time. On tiles, unless there are so few
// that their blocks would be nearly empty.
template <class Scratch>
void BackwardGlobalKeys(Context& context, std::span<const WindowArguments> calls, bool on_tiles,
                        const Scratch& scratch) {
  std::vector<AmxPlan> amx;
  std::size_t bytes = 0;
  for (const WindowArguments& args : calls) {
    const bool some = on_tiles && args.globals.most > 0;
    amx.push_back(some ? PlanAmxGlobalKeys(args) : AmxPlan());
    if (some) bytes = std::max(bytes, AmxBackwardBytes(amx.back()));
  }
  const AmxScratch memory(context, bytes);
  idx_t most = 0;
  bool sides = false;
  for (const WindowArguments& args : calls) {
    most = std::max(most, args.globals.most);
    sides = sides || HasSides(args);
  }
  for (idx_t first = 0; first < most; first += WindowPlan::kGlobalKeys) {
    const auto has = [&](std::size_t call) { return first < calls[call].globals.most; };
    const auto tasks = [&](std::size_t call) { return has(call) ? SideTasks(calls[call]) : 0; };
    ForEachTask(context, calls.size(), tasks, [&](std::size_t call, idx_t task, int thread) {
      const WindowArguments& args = calls[call];
      const idx_t keys = args.globals.Count(task / args.plan.parts / args.plan.H) - first;
      if (on_tiles && keys > WindowPlan::kFewKeys) {
        return AmxGlobalKeysTask(args, amx[call], memory.Of(thread), first, task);
      }
      HWY_DYNAMIC_DISPATCH(WindowGlobalKeysTask)(args, scratch(call, thread), first, task);
    });
    if (!sides) continue;
    const auto heads = [&](std::size_t call) {
      const WindowPlan& plan = calls[call].plan;
      return has(call) && HasSides(calls[call]) ? plan.B * plan.H : 0;
    };
    ForEachTask(context, calls.size(), heads, [&](std::size_t call, idx_t head, int) {
      HWY_DYNAMIC_DISPATCH(WindowGlobalSumTask)(calls[call], first, head);
    });
  }
}

void RunBackward(Context& context, std::span<WindowArguments> calls) {
  for (WindowArguments& args : calls) {
    args.side_keys = std::min(args.globals.most, WindowPlan::kGlobalKeys);
  }
  // Blocks of the window, or only of the global keys, if there are some.
  const bool on_tiles = RunsOnTiles(calls.front());
  for (WindowArguments& args : calls) {
    WindowPlan& plan = args.plan;
    if (!on_tiles || plan.parts == 0) continue;
    plan.part = RoundUp(plan.part, kAmxGlobalPart);
    plan.parts = CeilDiv(plan.T, plan.part);
  }
  const bool in_blocks = !on_tiles || std::any_of(calls.begin(), calls.end(), [](const auto& args) {
    return args.globals.most > 0;
  });
  const std::size_t bytes = in_blocks ? ScratchBytes(calls, true) : 0;
  Arena::Frame frame(context.arena(),
                     bytes * static_cast<std::size_t>(context.threads()) + SideBytes(calls));
  ThreadScratch<TaskScratch> each(context, frame, bytes);
  for (WindowArguments& args : calls) {
    if (!HasSides(args)) continue;
    args.side = frame.Take<float>(SideFloats(args));
    args.side_used = frame.Take<std::uint8_t>(SideTasks(args));
  }
  const auto scratch = [&](std::size_t call, int thread) -> const TaskScratch& {
    return each.Of(call, thread, [&](void* at) {
      const WindowPlan& plan = calls[call].plan;
      return TaskScratchAt(at, plan.backward, BlockPlan::kRows, true, plan.backward_rings);
    });
  };
  if (on_tiles) {
    AmxWindowBackward(context, calls);
  } else {
    BackwardWindows(context, calls, scratch);
  }
  BackwardGlobalKeys(context, calls, on_tiles, scratch);
}

// The call of one text, but for its plan.
WindowArguments PartOf(const WindowArguments& row, const TextOfRow& text) {
  const auto part = [&](const auto& view, std::size_t axis) {
    return Part(view, axis, text.begin, text.length);
  };
  WindowArguments args;
  args.q = part(row.q, 2);
  args.k = part(row.k, 2);
  args.v = part(row.v, 2);
  args.roles = part(row.roles, 1);
  args.out = part(row.out, 2);
  args.lse = part(row.lse, 2);
  args.dout = part(row.dout, 2);
  args.gradients = {part(row.gradients.dq, 2), part(row.gradients.dk, 2),
                    part(row.gradients.dv, 2)};
  args.globals = GlobalTokensOfText(row.globals, text.number);
  return args;
}

// Plans and runs a call, or the calls of its texts together. `slab`: null, whole rows.
void Run(Context& context, const WindowSpec& spec, const WindowSlab* slab, WindowArguments args,
         bool backward) {
  const auto run = backward ? RunBackward : RunForward;
  std::array<idx_t, 4> shape = args.q.extent;
  if (spec.starts.empty()) {
    if (slab != nullptr) shape[2] = slab->Keys();
    args.plan = MakeWindowPlan(spec, shape, args.globals.most, slab);
    return run(context, {&args, 1});
  }
  std::vector<WindowArguments> calls;
  calls.reserve(spec.starts.size());
  for (const TextOfRow& text : TextsInOrder(spec.starts)) {
    WindowArguments part = PartOf(args, text);
    const bool planned = !calls.empty() && calls.back().plan.T == text.length &&
                         calls.back().globals.most == part.globals.most;
    shape[2] = text.length;
    part.plan = planned ? calls.back().plan : MakeWindowPlan(spec, shape, part.globals.most);
    part.plan.forward.dropout.key = part.plan.backward.dropout.key = text.Draw(spec.dropout).key;
    calls.push_back(std::move(part));
  }
  run(context, calls);
}

template <class T>
void CheckAndRunBackward(Context& context, const WindowSpec& spec, const WindowSlab* slab,
                         const QkvOf<T>& qkv, const TokenRoles& roles,
                         const AttentionSavedOf<T>& saved, const View<const T, 4>& dout,
                         const DQkv& gradients) {
  WindowArguments args = CheckArguments(spec, slab, qkv, roles, saved);
  CheckWindow(dout, "dout", qkv.q.extent);
  CheckWindow(gradients.dq, "dq", qkv.q.extent);
  CheckWindow(gradients.dk, "dk", qkv.k.extent);
  CheckWindow(gradients.dv, "dv", qkv.k.extent);
  args.dout = dout;
  args.gradients = gradients;
  Run(context, spec, slab, std::move(args), true);
}

}  // namespace

void WindowForward(Context& context, const WindowSpec& spec, const Qkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved) {
  Run(context, spec, nullptr, CheckArguments(spec, nullptr, qkv, roles, saved), false);
}

void WindowForward(Context& context, const WindowSpec& spec, const Bf16Qkv& qkv,
                   const TokenRoles& roles, const Bf16AttentionSaved& saved) {
  Run(context, spec, nullptr, CheckArguments(spec, nullptr, qkv, roles, saved), false);
}

void WindowBackward(Context& context, const WindowSpec& spec, const Qkv& qkv,
                    const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, nullptr, qkv, roles, saved, dout, gradients);
}

void WindowBackward(Context& context, const WindowSpec& spec, const Bf16Qkv& qkv,
                    const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, nullptr, qkv, roles, saved, dout, gradients);
}

// ---- slabs --------------------------------------------------------------------------------------

void WindowForward(Context& context, const WindowSpec& spec, const WindowSlab& slab, const Qkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved) {
  Run(context, spec, &slab, CheckArguments(spec, &slab, qkv, roles, saved), false);
}

void WindowForward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                   const Bf16Qkv& qkv, const TokenRoles& roles, const Bf16AttentionSaved& saved) {
  Run(context, spec, &slab, CheckArguments(spec, &slab, qkv, roles, saved), false);
}

void WindowBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const Qkv& qkv, const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, &slab, qkv, roles, saved, dout, gradients);
}

void WindowBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const Bf16Qkv& qkv, const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DQkv& gradients) {
  CheckAndRunBackward(context, spec, &slab, qkv, roles, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
