#include "ops/window_attention/global_reassociated.h"

#include <cstddef>
#include <vector>

#include "base/isa.h"
#include "base/scratch_layout.h"
#include "parallel/parallel_for.h"
#include "simd/tile_extents.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/window_attention/global_reassociated.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/window_attention/global_reassociated-inl.h"

#if HWY_ONCE
namespace longspan {

HWY_EXPORT(ReassociatedRowTask);
HWY_EXPORT(ReassociatedForwardTask);
HWY_EXPORT(ReassociatedForwardSum);
HWY_EXPORT(ReassociatedBackwardTask);
HWY_EXPORT(ReassociatedBackwardSum);

namespace {

// A task for each of 16 cores, as far as their sums take no more than this.
constexpr idx_t kTasksWanted = 16;
constexpr idx_t kMostSideFloats = idx_t{512} * 1024;

// What both directions ask of their arguments.
template <class T>
ReassociatedArguments CheckArguments(const WindowSpec& spec, const GlobalProjectionOf<T>& input,
                                     const TokenRoles& roles, const AttentionSavedOf<T>& saved,
                                     bool backward) {
  const auto& x = input.x.extent;
  const std::array<idx_t, 4> shape = {x[0], input.qg.extent[1], x[1], input.qg.extent[3]};
  Check(x[2] >= 1, ErrorCode::kUsage, "window attention: x is {}, every extent must be at least 1",
        ShapeText(input.x));
  CheckWindowCall(spec, shape, "(B, H, T, D) of x and qg", roles, saved);
  CheckWindow(input.x, "x", x);
  const idx_t width = shape[1] * shape[3];
  CheckWindow(input.wk, "wk", {width, x[2]});
  CheckWindow(input.wv, "wv", {width, x[2]});
  if (!input.bk.empty()) CheckWindow(input.bk, "bk", {width});
  if (!input.bv.empty()) CheckWindow(input.bv, "bv", {width});
  ReassociatedArguments args;
  args.globals = GlobalTokensOf(spec, roles, shape[0]);
  CheckGlobalQueries(input.qg, "qg", shape, args.globals.most);
  args.x = View<const T, 4>(input.x.data, {x[0], 1, x[1], x[2]},
                            {input.x.stride[0], 0, input.x.stride[1], 1});
  args.qg = input.qg;
  args.wk = input.wk;
  args.wv = input.wv;
  args.bk = input.bk;
  args.bv = input.bv;
  args.roles = roles;
  args.out = saved.out;
  args.lse = saved.lse;
  args.plan = MakeReassociatedPlan(spec, shape, x[2], args.globals.most, backward);
  return args;
}

// The arrays of a thread's scratch.
auto LayoutOf(const ReassociatedPlan& plan, bool backward) {
  const auto each = [&plan, backward](ReassociatedScratch& s, const auto& take) {
    const idx_t wide = RoundUp(plan.C, BlockPlan::kPanelUnit);
    take(s.scores, ReassociatedPlan::kTokens * plan.lanes);
    take(s.last, plan.lanes);
    take(s.factors, ReassociatedPlan::kTokens);
    take(s.x_rows, ReassociatedPlan::kTokens * plan.channels);
    for (float*& row : s.rows) take(row, RoundUp(plan.D, BlockPlan::kRowUnit));
    if (!backward) return;
    take(s.u_panels, plan.rows * wide);
    take(s.a_panels, plan.rows * wide);
    take(s.dscores, ReassociatedPlan::kTokens * plan.lanes);
    take(s.dx, kMostTileRows * plan.channels);
    for (float** lanes : {&s.shift, &s.delta, &s.bias}) take(*lanes, plan.lanes);
  };
  return ScratchLayout(ReassociatedScratch{}, each);
}

// The booking of one call: scratch, the rows of a batch, the parts' sums.
struct Call {
  Call(Context& context, ReassociatedArguments& args, bool backward)
      : frame(context.arena(), Bytes(context, args.plan, backward)),
        each(LayoutOf(args.plan, backward).TakeEach(frame, context.threads())) {
    args.u = frame.Take<float>(args.plan.BatchFloats());
    if (backward) args.a = frame.Take<float>(args.plan.BatchFloats());
    args.side = frame.Take<float>(args.plan.Tasks() * args.plan.SideFloats(backward));
  }
  static std::size_t Bytes(const Context& context, const ReassociatedPlan& plan, bool backward) {
    std::size_t bytes =
        LayoutOf(plan, backward).Bytes() * static_cast<std::size_t>(context.threads());
    bytes += (backward ? 2 : 1) * Arena::Bytes<float>(plan.BatchFloats());
    return bytes + Arena::Bytes<float>(plan.Tasks() * plan.SideFloats(backward));
  }
  const ReassociatedScratch& Scratch(int thread) const {
    return each[static_cast<std::size_t>(thread)];
  }

  Arena::Frame frame;
  std::vector<ReassociatedScratch> each;
};

}  // namespace

ReassociatedPlan MakeReassociatedPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape,
                                      idx_t channels, idx_t globals, bool backward) {
  ReassociatedPlan plan;
  plan.B = shape[0];
  plan.H = shape[1];
  plan.T = shape[2];
  plan.D = shape[3];
  plan.C = channels;
  plan.causal = spec.causal;
  const BlockPlan block = MakeBlockPlan(spec, plan.T, plan.D);
  plan.scale = block.scale;
  plan.dropout = block.dropout;
  plan.slots = block.slots;
  plan.rows = std::clamp<idx_t>(plan.H * globals, 1, ReassociatedPlan::kRows);
  plan.lanes = RoundUp(plan.rows, BlockPlan::kRowUnit);
  plan.channels = RoundUp(plan.C, BlockPlan::kRowUnit);
  plan.batches = CeilDiv(plan.H * globals, plan.rows);
  const idx_t room = kMostSideFloats / (plan.B * plan.SideFloats(backward));
  const idx_t wanted = std::min(CeilDiv(kTasksWanted, plan.B), std::max<idx_t>(room, 1));
  plan.part = RoundUp(CeilDiv(plan.T, wanted), ReassociatedPlan::kTokens);
  plan.parts = CeilDiv(plan.T, plan.part);
  return plan;
}

GlobalFlops CountGlobalFlops(idx_t tokens, idx_t channels, idx_t heads, idx_t head_size,
                             idx_t globals, bool backward) {
  const auto T = static_cast<double>(tokens), C = static_cast<double>(channels);
  const auto D = static_cast<double>(head_size);
  const double rows = static_cast<double>(heads) * static_cast<double>(globals);
  const double width = static_cast<double>(heads) * D;
  GlobalFlops flops;
  // kg and vg; backward dx and the weights' gradients of both.
  flops.projected =
      (backward ? 12.0 : 4.0) * T * C * width + (backward ? 14.0 : 4.0) * T * D * rows;
  flops.reassociated =
      (backward ? 16.0 : 4.0) * T * C * rows + (backward ? 14.0 : 4.0) * C * D * rows;
  return flops;
}

namespace {

// u, and a in the backward, of a batch: each matrix of weights is read once.
void MakeRows(Context& context, const ReassociatedArguments& args, const Call& call, idx_t batch) {
  ParallelFor(context, args.plan.B * args.plan.rows, [&](idx_t task, int thread) {
    HWY_DYNAMIC_DISPATCH(ReassociatedRowTask)(args, call.Scratch(thread), batch, task);
  });
}

void RunForward(Context& context, ReassociatedArguments args) {
  const ReassociatedPlan& plan = args.plan;
  if (plan.batches == 0) return;
  const Call call(context, args, false);
  for (idx_t batch = 0; batch < plan.batches; ++batch) {
    MakeRows(context, args, call, batch);
    ParallelFor(context, plan.Tasks(), [&](idx_t task, int thread) {
      HWY_DYNAMIC_DISPATCH(ReassociatedForwardTask)(args, call.Scratch(thread), batch, task);
    });
    ParallelFor(context, plan.B * plan.rows, [&](idx_t task, int thread) {
      HWY_DYNAMIC_DISPATCH(ReassociatedForwardSum)(args, call.Scratch(thread), batch, task);
    });
  }
}

template <class T>
void CheckAndRunBackward(Context& context, const WindowSpec& spec,
                         const GlobalProjectionOf<T>& input, const TokenRoles& roles,
                         const AttentionSavedOf<T>& saved, const View<const T, 4>& dout,
                         const DGlobalProjection& gradients) {
  ReassociatedArguments args = CheckArguments(spec, input, roles, saved, true);
  CheckWindow(dout, "dout", saved.out.extent);
  CheckWindow(gradients.dx, "dx", input.x.extent);
  CheckWindow(gradients.dqg, "dqg", input.qg.extent);
  CheckWindow(gradients.dwk, "dwk", input.wk.extent);
  CheckWindow(gradients.dwv, "dwv", input.wv.extent);
  if (!gradients.dbv.empty()) CheckWindow(gradients.dbv, "dbv", {input.wv.extent[0]});
  args.dout = dout;
  args.gradients = gradients;
  const ReassociatedPlan& plan = args.plan;
  if (plan.batches == 0) return;
  const Call call(context, args, true);
  for (idx_t batch = 0; batch < plan.batches; ++batch) {
    MakeRows(context, args, call, batch);
    ParallelFor(context, plan.Tasks(), [&](idx_t task, int thread) {
      HWY_DYNAMIC_DISPATCH(ReassociatedBackwardTask)(args, call.Scratch(thread), batch, task);
    });
    ParallelFor(context, plan.H, [&](idx_t h, int thread) {
      HWY_DYNAMIC_DISPATCH(ReassociatedBackwardSum)(args, call.Scratch(thread), batch, h);
    });
  }
}

}  // namespace

void GlobalReassociatedForward(Context& context, const WindowSpec& spec,
                               const GlobalProjection& input, const TokenRoles& roles,
                               const AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, input, roles, saved, false));
}

void GlobalReassociatedForward(Context& context, const WindowSpec& spec,
                               const Bf16GlobalProjection& input, const TokenRoles& roles,
                               const Bf16AttentionSaved& saved) {
  RunForward(context, CheckArguments(spec, input, roles, saved, false));
}

void GlobalReassociatedBackward(Context& context, const WindowSpec& spec,
                                const GlobalProjection& input, const TokenRoles& roles,
                                const AttentionSaved& saved, const View<const float, 4>& dout,
                                const DGlobalProjection& gradients) {
  CheckAndRunBackward(context, spec, input, roles, saved, dout, gradients);
}

void GlobalReassociatedBackward(Context& context, const WindowSpec& spec,
                                const Bf16GlobalProjection& input, const TokenRoles& roles,
                                const Bf16AttentionSaved& saved,
                                const View<const bfloat16, 4>& dout,
                                const DGlobalProjection& gradients) {
  CheckAndRunBackward(context, spec, input, roles, saved, dout, gradients);
}

}  // namespace longspan
#endif  // HWY_ONCE
