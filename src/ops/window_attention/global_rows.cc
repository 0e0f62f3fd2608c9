#include "ops/window_attention/global_rows.h"

#include <algorithm>
#include <cstddef>
#include <span>

#include "base/isa.h"
#include "ops/side_by_side.h"
#include "ops/window_attention/global_amx.h"
#include "ops/window_attention/slab_check.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/window_attention/global_rows.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/window_attention/global_rows-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(GlobalForwardTask);
HWY_EXPORT(GlobalForwardPairs);
HWY_EXPORT(GlobalForwardSum);
HWY_EXPORT(GlobalBackwardTask);
HWY_EXPORT(GlobalBackwardPairs);
HWY_EXPORT(GlobalBackwardSum);

namespace {

// Tasks that keep 16 cores busy: more would make the parts' sums larger than they need to be.
constexpr idx_t kTasksWanted = 32;
// Query rows of a batch. Many would save packing, but their sums are held once for every part.
constexpr idx_t kForwardRows = 48, kBackwardRows = 96;

// What both directions ask of their arguments. `slab`: null, whole rows. S is fp32 or T.
template <class T, class S>
GlobalArguments CheckArguments(const WindowSpec& spec, const WindowSlab* slab,
                               const GlobalQkvOf<T>& qkv, const TokenRoles& roles,
                               const AttentionSavedOf<S>& saved) {
  const auto& shape = qkv.kg.extent;
  if (slab != nullptr) {
    CheckGlobalSlab(spec, *slab, qkv.qg.extent, shape, roles);
    CheckWindowCall(spec, qkv.qg.extent, "qg", {}, saved);
  } else {
    CheckWindowCall(spec, shape, "kg", roles, saved);
  }
  CheckWindow(qkv.kg, "kg", shape);
  CheckWindow(qkv.vg, "vg", shape);
  GlobalArguments args;
  args.globals = slab != nullptr ? GlobalPlacesOf(*slab) : GlobalTokensOf(spec, roles, shape[0]);
  CheckGlobalQueries(qkv.qg, "qg", shape, spec, args.globals);
  args.qg = qkv.qg;
  args.kg = qkv.kg;
  args.vg = qkv.vg;
  args.roles = roles;
  args.out = saved.out;
  args.lse = saved.lse;
  return args;
}

}  // namespace

GlobalPlan MakeGlobalPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape, idx_t globals,
                          bool backward, bool bf16, const WindowSlab* slab) {
  GlobalPlan plan;
  plan.B = shape[0];
  plan.H = shape[1];
  plan.T = shape[2];
  plan.drawn = spec.dropout;
  plan.causal = spec.causal;
  plan.slab = slab != nullptr;
  plan.row_tokens = plan.slab ? slab->tokens : plan.T;
  plan.row_begin = plan.slab ? slab->begin : 0;
  plan.block = MakeBlockPlan(spec, plan.row_tokens, shape[3]);
  const idx_t ring = BlockKeys(shape[3]);
  plan.rings.keys.ring = ring;
  plan.block.score_stride = ScoreStride(ring + BlockPlan::kRowUnit);
  plan.tiles = MultipliesTiles(bf16) && AmxTakes(plan.block.D, plan.block.scale);
  const idx_t most = plan.tiles ? kGlobalRowsOnTiles : (backward ? kBackwardRows : kForwardRows);
  plan.rows = std::clamp<idx_t>(globals, 1, most);
  plan.batches = CeilDiv(globals, plan.rows);
  const idx_t tasks = plan.B * plan.H * (backward ? 1 : std::max<idx_t>(plan.batches, 1));
  const idx_t wanted = TasksWanted(kTasksWanted, plan.T, !spec.starts.empty());
  plan.part = RoundUp(CeilDiv(plan.T, CeilDiv(wanted, tasks)), ring);
  plan.parts = CeilDiv(plan.T, plan.part);
  return plan;
}

namespace {

// What calls that run together book: a scratch for each thread, and a side for each task of those
// that have several parts; a call has tasks(plan) of them at a time.
struct Booking {
  template <class Tasks>
  Booking(Context& context, std::span<GlobalArguments> calls, bool is_backward, const Tasks& tasks)
      : backward(is_backward),
        each(Largest(calls, backward)),
        frame(context.arena(),
              each * static_cast<std::size_t>(context.threads()) + Sides(calls, tasks)),
        scratch(context, frame, each) {
    for (GlobalArguments& args : calls) {
      const GlobalPlan& plan = args.plan;
      if (plan.parts > 1) args.side = frame.Take<float>(tasks(plan) * plan.SideFloats());
      sides = sides || plan.parts > 1;
    }
  }
  const TaskScratch& Scratch(const GlobalPlan& plan, std::size_t call, int thread) {
    return scratch.Of(call, thread, [&](void* at) {
      return TaskScratchAt(at, plan.block, RowsOf(plan), backward, plan.rings);
    });
  }
  bool sides = false;  // of any call

 private:
  // Rows of scratch: on tiles a whole batch, whose parts are put together there.
  static idx_t RowsOf(const GlobalPlan& plan) {
    return plan.tiles ? std::max(plan.rows, BlockPlan::kRows) : BlockPlan::kRows;
  }
  static std::size_t Largest(std::span<const GlobalArguments> calls, bool backward) {
    std::size_t most = 0;
    for (const GlobalArguments& args : calls) {
      const GlobalPlan& plan = args.plan;
      most = std::max(most, TaskScratchBytes(plan.block, RowsOf(plan), backward, plan.rings));
    }
    return most;
  }
  template <class Tasks>
  static std::size_t Sides(std::span<const GlobalArguments> calls, const Tasks& tasks) {
    std::size_t bytes = 0;
    for (const GlobalArguments& args : calls) {
      const GlobalPlan& plan = args.plan;
      if (plan.parts > 1) bytes += Arena::Bytes<float>(tasks(plan) * plan.SideFloats());
    }
    return bytes;
  }

  bool backward;
  std::size_t each;
  Arena::Frame frame;
  ThreadScratch<TaskScratch> scratch;
};

void RunForward(Context& context, std::span<GlobalArguments> calls) {
  const auto units = [](const GlobalPlan& plan) { return plan.B * plan.H * plan.batches; };
  const auto tasks = [&](const GlobalPlan& plan) { return units(plan) * plan.parts; };
  Booking booking(context, calls, false, tasks);
  const bool pairs = MultipliesPairs(calls.front().kg.bf16), on_tiles = calls.front().plan.tiles;
  const GlobalTiles tiles = on_tiles ? PlanGlobalTiles(calls, false) : GlobalTiles();
  const AmxScratch memory(context, tiles.bytes);
  const auto count = [&](std::size_t call) { return tasks(calls[call].plan); };
  ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
    const GlobalArguments& args = calls[call];
    if (on_tiles) return GlobalForwardOnTiles(args, tiles.plans[call], memory.Of(thread), task);
    const TaskScratch& s = booking.Scratch(args.plan, call, thread);
    if (pairs) return HWY_DYNAMIC_DISPATCH(GlobalForwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(GlobalForwardTask)(args, s, task);
  });
  if (!booking.sides) return;
  const auto sums = [&](std::size_t call) {
    return calls[call].plan.parts > 1 ? units(calls[call].plan) : 0;
  };
  ForEachTask(context, calls.size(), sums, [&](std::size_t call, idx_t unit, int thread) {
    const GlobalArguments& args = calls[call];
    const TaskScratch& s = booking.Scratch(args.plan, call, thread);
    HWY_DYNAMIC_DISPATCH(GlobalForwardSum)(args, s, unit);
  });
}

void RunBackward(Context& context, std::span<GlobalArguments> calls) {
  const auto tasks = [](const GlobalPlan& plan) { return plan.B * plan.H * plan.parts; };
  Booking booking(context, calls, true, tasks);
  const bool pairs = MultipliesPairs(calls.front().kg.bf16), on_tiles = calls.front().plan.tiles;
  const GlobalTiles tiles = on_tiles ? PlanGlobalTiles(calls, true) : GlobalTiles();
  const AmxScratch memory(context, tiles.bytes);
  idx_t batches = 0;
  for (const GlobalArguments& args : calls) batches = std::max(batches, args.plan.batches);
  for (idx_t batch = 0; batch < batches; ++batch) {
    const auto has = [&](std::size_t call) { return batch < calls[call].plan.batches; };
    const auto count = [&](std::size_t call) { return has(call) ? tasks(calls[call].plan) : 0; };
    ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
      const GlobalArguments& args = calls[call];
      if (on_tiles) {
        return GlobalBackwardOnTiles(args, tiles.plans[call], memory.Of(thread), batch, task);
      }
      const TaskScratch& s = booking.Scratch(args.plan, call, thread);
      if (pairs) return HWY_DYNAMIC_DISPATCH(GlobalBackwardPairs)(args, s, batch, task);
      HWY_DYNAMIC_DISPATCH(GlobalBackwardTask)(args, s, batch, task);
    });
    if (!booking.sides) continue;
    const auto heads = [&](std::size_t call) {
      const GlobalPlan& plan = calls[call].plan;
      return has(call) && plan.parts > 1 ? plan.B * plan.H : 0;
    };
    ForEachTask(context, calls.size(), heads, [&](std::size_t call, idx_t head, int) {
      HWY_DYNAMIC_DISPATCH(GlobalBackwardSum)(calls[call], batch, head);
    });
  }
}

// The call of one text, but for its plan.
GlobalArguments PartOf(const GlobalArguments& row, const TextOfRow& text) {
  const auto part = [&](const auto& view, std::size_t axis) {
    return Part(view, axis, text.begin, text.length);
  };
  GlobalArguments args;
  args.globals = GlobalTokensOfText(row.globals, text.number);
  const auto queries = [&](const auto& view) {
    return Part(view, 2, row.globals.first[static_cast<std::size_t>(text.number)],
                args.globals.most);
  };
  args.qg = queries(row.qg);
  args.kg = part(row.kg, 2);
  args.vg = part(row.vg, 2);
  args.roles = part(row.roles, 1);
  args.out = part(row.out, 2);
  args.lse = part(row.lse, 2);
  args.dout = part(row.dout, 2);
  args.gradients = {queries(row.gradients.dqg), part(row.gradients.dkg, 2),
                    part(row.gradients.dvg, 2)};
  return args;
}

// Plans and runs a call, or the calls of its texts together. `slab`: null, whole rows.
void Run(Context& context, const WindowSpec& spec, const WindowSlab* slab, GlobalArguments args,
         bool backward) {
  if (args.globals.most == 0) return;
  const auto run = backward ? RunBackward : RunForward;
  std::array<idx_t, 4> shape = args.kg.extent;
  if (spec.starts.empty()) {
    args.plan = MakeGlobalPlan(spec, shape, args.globals.most, backward, args.kg.bf16, slab);
    return run(context, {&args, 1});
  }
  std::vector<GlobalArguments> calls;
  for (const TextOfRow& text : TextsInOrder(spec.starts)) {
    if (args.globals.Count(text.number) == 0) continue;
    GlobalArguments part = PartOf(args, text);
    shape[2] = text.length;
    part.plan = MakeGlobalPlan(spec, shape, part.globals.most, backward, args.kg.bf16);
    part.plan.block.dropout.key = text.Draw(spec.dropout).key;
    calls.push_back(std::move(part));
  }
  run(context, calls);
}

template <class T>
void CheckAndRunBackward(Context& context, const WindowSpec& spec, const WindowSlab* slab,
                         const GlobalQkvOf<T>& qkv, const TokenRoles& roles,
                         const AttentionSavedOf<T>& saved, const View<const T, 4>& dout,
                         const DGlobalQkv& gradients) {
  GlobalArguments args = CheckArguments(spec, slab, qkv, roles, saved);
  const auto& shape = qkv.kg.extent;
  CheckWindow(dout, "dout", slab != nullptr ? qkv.qg.extent : shape);
  CheckWindow(gradients.dqg, "dqg", qkv.qg.extent);
  CheckWindow(gradients.dkg, "dkg", shape);
  CheckWindow(gradients.dvg, "dvg", shape);
  args.dout = dout;
  args.gradients = gradients;
  Run(context, spec, slab, std::move(args), true);
}

}  // namespace

void GlobalForward(Context& context, const WindowSpec& spec, const GlobalQkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved) {
  Run(context, spec, nullptr, CheckArguments(spec, nullptr, qkv, roles, saved), false);
}

void GlobalForward(Context& context, const WindowSpec& spec, const Bf16GlobalQkv& qkv,
                   const TokenRoles& roles, const Bf16AttentionSaved& saved) {
  Run(context, spec, nullptr, CheckArguments(spec, nullptr, qkv, roles, saved), false);
}

void GlobalBackward(Context& context, const WindowSpec& spec, const GlobalQkv& qkv,
                    const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DGlobalQkv& gradients) {
  CheckAndRunBackward(context, spec, nullptr, qkv, roles, saved, dout, gradients);
}

void GlobalBackward(Context& context, const WindowSpec& spec, const Bf16GlobalQkv& qkv,
                    const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DGlobalQkv& gradients) {
  CheckAndRunBackward(context, spec, nullptr, qkv, roles, saved, dout, gradients);
}

// ---- slabs --------------------------------------------------------------------------------------

void GlobalForward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                   const GlobalQkv& qkv, const TokenRoles& roles, const AttentionSaved& saved) {
  Run(context, spec, &slab, CheckArguments(spec, &slab, qkv, roles, saved), false);
}

void GlobalForward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                   const Bf16GlobalQkv& qkv, const TokenRoles& roles, const AttentionSaved& saved) {
  Run(context, spec, &slab, CheckArguments(spec, &slab, qkv, roles, saved), false);
}

void GlobalBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const GlobalQkv& qkv, const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DGlobalQkv& gradients) {
  CheckAndRunBackward(context, spec, &slab, qkv, roles, saved, dout, gradients);
}

void GlobalBackward(Context& context, const WindowSpec& spec, const WindowSlab& slab,
                    const Bf16GlobalQkv& qkv, const TokenRoles& roles,
                    const Bf16AttentionSaved& saved, const View<const bfloat16, 4>& dout,
                    const DGlobalQkv& gradients) {
  CheckAndRunBackward(context, spec, &slab, qkv, roles, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
