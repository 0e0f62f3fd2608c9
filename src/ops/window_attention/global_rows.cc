#include "ops/window_attention/global_rows.h"

#include <cstddef>

#include "base/isa.h"
#include "parallel/parallel_for.h"

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

// What both directions ask of their arguments.
template <class T>
GlobalArguments CheckArguments(const WindowSpec& spec, const GlobalQkvOf<T>& qkv,
                               const TokenRoles& roles, const AttentionSavedOf<T>& saved,
                               bool backward) {
  const auto& shape = qkv.kg.extent;
  CheckWindowCall(spec, shape, "kg", roles, saved);
  CheckWindow(qkv.kg, "kg", shape);
  CheckWindow(qkv.vg, "vg", shape);
  GlobalArguments args;
  args.globals = GlobalTokensOf(spec, roles, shape[0]);
  CheckGlobalQueries(qkv.qg, "qg", shape, args.globals.most);
  args.qg = qkv.qg;
  args.kg = qkv.kg;
  args.vg = qkv.vg;
  args.roles = roles;
  args.out = saved.out;
  args.lse = saved.lse;
  args.plan = MakeGlobalPlan(spec, shape, args.globals.most, backward);
  return args;
}

// Books what a call needs; `tasks` have a side of their own.
std::size_t CallBytes(const Context& context, const GlobalPlan& plan, bool backward, idx_t tasks) {
  const std::size_t bytes = TaskScratchBytes(plan.block, BlockPlan::kRows, backward, plan.rings);
  return bytes * static_cast<std::size_t>(context.threads()) +
         (plan.parts > 1 ? Arena::Bytes<float>(tasks * plan.SideFloats()) : 0);
}

}  // namespace

GlobalPlan MakeGlobalPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape, idx_t globals,
                          bool backward) {
  GlobalPlan plan;
  plan.B = shape[0];
  plan.H = shape[1];
  plan.T = shape[2];
  plan.causal = spec.causal;
  plan.block = MakeBlockPlan(spec, plan.T, shape[3]);
  const idx_t ring = BlockKeys(shape[3]);
  plan.rings.keys.ring = ring;
  plan.block.score_stride = ScoreStride(ring + BlockPlan::kRowUnit);
  plan.rows = std::clamp<idx_t>(globals, 1, backward ? kBackwardRows : kForwardRows);
  plan.batches = CeilDiv(globals, plan.rows);
  const idx_t tasks = plan.B * plan.H * (backward ? 1 : std::max<idx_t>(plan.batches, 1));
  plan.part = RoundUp(CeilDiv(plan.T, CeilDiv(kTasksWanted, tasks)), ring);
  plan.parts = CeilDiv(plan.T, plan.part);
  return plan;
}

namespace {

void RunForward(Context& context, GlobalArguments args) {
  const GlobalPlan& plan = args.plan;
  const idx_t units = plan.B * plan.H * plan.batches, tasks = units * plan.parts;
  if (tasks == 0) return;
  Arena::Frame frame(context.arena(), CallBytes(context, plan, false, tasks));
  const auto scratch =
      TakeTaskScratch(context, frame, plan.block, BlockPlan::kRows, false, plan.rings);
  if (plan.parts > 1) args.side = frame.Take<float>(tasks * plan.SideFloats());
  const bool pairs = MultipliesPairs(args.kg.bf16);
  ParallelFor(context, tasks, [&](idx_t task, int thread) {
    const TaskScratch& s = scratch[static_cast<std::size_t>(thread)];
    if (pairs) return HWY_DYNAMIC_DISPATCH(GlobalForwardPairs)(args, s, task);
    HWY_DYNAMIC_DISPATCH(GlobalForwardTask)(args, s, task);
  });
  if (plan.parts == 1) return;
  ParallelFor(context, units, [&](idx_t unit, int thread) {
    HWY_DYNAMIC_DISPATCH(GlobalForwardSum)(args, scratch[static_cast<std::size_t>(thread)], unit);
  });
}

template <class T>
void CheckAndRunBackward(Context& context, const WindowSpec& spec, const GlobalQkvOf<T>& qkv,
                         const TokenRoles& roles, const AttentionSavedOf<T>& saved,
                         const View<const T, 4>& dout, const DGlobalQkv& gradients) {
  GlobalArguments args = CheckArguments(spec, qkv, roles, saved, true);
  const auto& shape = qkv.kg.extent;
  CheckWindow(dout, "dout", shape);
  CheckWindow(gradients.dqg, "dqg", qkv.qg.extent);
  CheckWindow(gradients.dkg, "dkg", shape);
  CheckWindow(gradients.dvg, "dvg", shape);
  args.dout = dout;
  args.gradients = gradients;
  const GlobalPlan& plan = args.plan;
  const idx_t heads = plan.B * plan.H, tasks = heads * plan.parts;
  if (plan.batches == 0) return;
  Arena::Frame frame(context.arena(), CallBytes(context, plan, true, tasks));
  const auto scratch =
      TakeTaskScratch(context, frame, plan.block, BlockPlan::kRows, true, plan.rings);
  if (plan.parts > 1) args.side = frame.Take<float>(tasks * plan.SideFloats());
  const bool pairs = MultipliesPairs(args.kg.bf16);
  for (idx_t batch = 0; batch < plan.batches; ++batch) {
    ParallelFor(context, tasks, [&](idx_t task, int thread) {
      const TaskScratch& s = scratch[static_cast<std::size_t>(thread)];
      if (pairs) return HWY_DYNAMIC_DISPATCH(GlobalBackwardPairs)(args, s, batch, task);
      HWY_DYNAMIC_DISPATCH(GlobalBackwardTask)(args, s, batch, task);
    });
    if (plan.parts == 1) continue;
    ParallelFor(context, heads, [&](idx_t head, int) {
      HWY_DYNAMIC_DISPATCH(GlobalBackwardSum)(args, batch, head);
    });
  }
}

}  // namespace

void GlobalForward(Context& context, const WindowSpec& spec, const GlobalQkv& qkv,
                   const TokenRoles& roles, const AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, qkv, roles, saved, false));
}

void GlobalForward(Context& context, const WindowSpec& spec, const Bf16GlobalQkv& qkv,
                   const TokenRoles& roles, const Bf16AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, qkv, roles, saved, false));
}

void GlobalBackward(Context& context, const WindowSpec& spec, const GlobalQkv& qkv,
                    const TokenRoles& roles, const AttentionSaved& saved,
                    const View<const float, 4>& dout, const DGlobalQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, roles, saved, dout, gradients);
}

void GlobalBackward(Context& context, const WindowSpec& spec, const Bf16GlobalQkv& qkv,
                    const TokenRoles& roles, const Bf16AttentionSaved& saved,
                    const View<const bfloat16, 4>& dout, const DGlobalQkv& gradients) {
  CheckAndRunBackward(context, spec, qkv, roles, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
