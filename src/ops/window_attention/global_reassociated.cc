#include "ops/window_attention/global_reassociated.h"

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/isa.h"
#include "base/scratch_layout.h"
#include "ops/side_by_side.h"
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
// Texts that run together, because each has rows of C floats of its own: 10 MB at C 768, H 12.
constexpr std::size_t kTextsTogether = 64;

// What both directions ask of their arguments.
template <class T>
ReassociatedArguments CheckArguments(const WindowSpec& spec, const GlobalProjectionOf<T>& input,
                                     const TokenRoles& roles, const AttentionSavedOf<T>& saved) {
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
  CheckGlobalQueries(input.qg, "qg", shape, spec, args.globals);
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

}  // namespace

ReassociatedPlan MakeReassociatedPlan(const WindowSpec& spec, const std::array<idx_t, 4>& shape,
                                      idx_t channels, idx_t globals, bool backward) {
  ReassociatedPlan plan;
  plan.B = shape[0];
  plan.H = shape[1];
  plan.T = shape[2];
  plan.drawn = spec.dropout;
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
  const idx_t tasks = TasksWanted(kTasksWanted, plan.T, !spec.starts.empty());
  const idx_t wanted = std::min(CeilDiv(tasks, plan.B), std::max<idx_t>(room, 1));
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

// What calls that run together book: a scratch for each thread; for each call the rows of a batch
// and the parts' sums.
struct Booking {
  Booking(Context& context, std::span<ReassociatedArguments> calls, bool is_backward)
      : backward(is_backward),
        each(Largest(calls, backward)),
        frame(context.arena(),
              each * static_cast<std::size_t>(context.threads()) + Rows(calls, backward)),
        scratch(context, frame, each) {
    for (ReassociatedArguments& args : calls) {
      const ReassociatedPlan& plan = args.plan;
      args.u = frame.Take<float>(plan.BatchFloats());
      if (backward) args.a = frame.Take<float>(plan.BatchFloats());
      args.side = frame.Take<float>(plan.Tasks() * plan.SideFloats(backward));
      batches = std::max(batches, plan.batches);
      most_rows = std::max(most_rows, plan.rows);
    }
  }
  const ReassociatedScratch& Scratch(const ReassociatedPlan& plan, std::size_t call, int thread) {
    return scratch.Of(call, thread, [&](void* at) { return LayoutOf(plan, backward).At(at); });
  }
  idx_t batches = 0, most_rows = 0;  // of any call

 private:
  static std::size_t Largest(std::span<const ReassociatedArguments> calls, bool backward) {
    std::size_t most = 0;
    for (const auto& args : calls) most = std::max(most, LayoutOf(args.plan, backward).Bytes());
    return most;
  }
  static std::size_t Rows(std::span<const ReassociatedArguments> calls, bool backward) {
    std::size_t bytes = 0;
    for (const auto& args : calls) {
      bytes += (backward ? 2 : 1) * Arena::Bytes<float>(args.plan.BatchFloats()) +
               Arena::Bytes<float>(args.plan.Tasks() * args.plan.SideFloats(backward));
    }
    return bytes;
  }

  bool backward;
  std::size_t each;
  Arena::Frame frame;
  ThreadScratch<ReassociatedScratch> scratch;
};

// Calls body(args, scratch, task) for row `task` of a batch, of every sequence of every call. The
// same row of all of them comes first: as a rule it is of one head, whose weights stay in the
// cache.
template <class Body>
void ForEachRow(Context& context, std::span<const ReassociatedArguments> calls, Booking& booking,
                const Body& body) {
  const idx_t sequences = calls.front().plan.B;  // of each call
  const idx_t all = sequences * static_cast<idx_t>(calls.size());
  ParallelFor(context, booking.most_rows * all, [&](idx_t task, int thread) {
    const auto call = static_cast<std::size_t>(task % all / sequences);
    const ReassociatedPlan& plan = calls[call].plan;
    const idx_t row = task / all, sequence = task % sequences;
    if (row >= plan.rows) return;
    body(calls[call], booking.Scratch(plan, call, thread), sequence * plan.rows + row);
  });
}

// u, and a in the backward, of a batch.
void MakeRows(Context& context, std::span<const ReassociatedArguments> calls, Booking& booking,
              idx_t batch) {
  ForEachRow(context, calls, booking,
             [&](const ReassociatedArguments& args, const ReassociatedScratch& s, idx_t task) {
               HWY_DYNAMIC_DISPATCH(ReassociatedRowTask)(args, s, batch, task);
             });
}

void RunForward(Context& context, std::span<ReassociatedArguments> calls) {
  Booking booking(context, calls, false);
  const auto count = [&](std::size_t call) { return calls[call].plan.Tasks(); };
  for (idx_t batch = 0; batch < booking.batches; ++batch) {
    MakeRows(context, calls, booking, batch);
    ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
      const ReassociatedArguments& args = calls[call];
      HWY_DYNAMIC_DISPATCH(ReassociatedForwardTask)
      (args, booking.Scratch(args.plan, call, thread), batch, task);
    });
    ForEachRow(context, calls, booking,
               [&](const ReassociatedArguments& args, const ReassociatedScratch& s, idx_t task) {
                 HWY_DYNAMIC_DISPATCH(ReassociatedForwardSum)(args, s, batch, task);
               });
  }
}

void RunBackward(Context& context, std::span<ReassociatedArguments> calls) {
  Booking booking(context, calls, true);
  const auto count = [&](std::size_t call) { return calls[call].plan.Tasks(); };
  for (idx_t batch = 0; batch < booking.batches; ++batch) {
    MakeRows(context, calls, booking, batch);
    ForEachTask(context, calls.size(), count, [&](std::size_t call, idx_t task, int thread) {
      const ReassociatedArguments& args = calls[call];
      HWY_DYNAMIC_DISPATCH(ReassociatedBackwardTask)
      (args, booking.Scratch(args.plan, call, thread), batch, task);
    });
    // All calls add to the gradients of one head's weights: one after another.
    ParallelFor(context, calls.front().plan.H, [&](idx_t h, int thread) {
      for (std::size_t call = 0; call < calls.size(); ++call) {
        const ReassociatedArguments& args = calls[call];
        HWY_DYNAMIC_DISPATCH(ReassociatedBackwardSum)
        (args, booking.Scratch(args.plan, call, thread), batch, h);
      }
    });
  }
}

// The call of one text, but for its plan.
ReassociatedArguments PartOf(const ReassociatedArguments& row, const TextOfRow& text) {
  const auto part = [&](const auto& view, std::size_t axis) {
    return Part(view, axis, text.begin, text.length);
  };
  ReassociatedArguments args = row;
  args.globals = GlobalTokensOfText(row.globals, text.number);
  const auto queries = [&](const auto& view) {
    return Part(view, 2, row.globals.first[static_cast<std::size_t>(text.number)],
                args.globals.most);
  };
  args.x = part(row.x, 2);
  args.qg = queries(row.qg);
  args.roles = part(row.roles, 1);
  args.out = part(row.out, 2);
  args.lse = part(row.lse, 2);
  args.dout = part(row.dout, 2);
  args.gradients.dx = part(row.gradients.dx, 1);
  args.gradients.dqg = queries(row.gradients.dqg);
  return args;
}

// Plans and runs a call, or the calls of its texts together.
void Run(Context& context, const WindowSpec& spec, ReassociatedArguments args, bool backward) {
  if (args.globals.most == 0) return;
  const auto run = backward ? RunBackward : RunForward;
  const idx_t channels = args.x.extent[3];
  std::array<idx_t, 4> shape = args.out.extent;
  if (spec.starts.empty()) {
    args.plan = MakeReassociatedPlan(spec, shape, channels, args.globals.most, backward);
    return run(context, {&args, 1});
  }
  std::vector<ReassociatedArguments> calls;
  for (const TextOfRow& text : TextsInOrder(spec.starts)) {
    if (args.globals.Count(text.number) == 0) continue;
    ReassociatedArguments part = PartOf(args, text);
    shape[2] = text.length;
    part.plan = MakeReassociatedPlan(spec, shape, channels, part.globals.most, backward);
    part.plan.dropout.key = text.Draw(spec.dropout).key;
    calls.push_back(std::move(part));
  }
  for (std::span rest(calls); !rest.empty();) {
    const std::size_t now = std::min(kTextsTogether, rest.size());
    run(context, rest.first(now));
    rest = rest.subspan(now);
  }
}

template <class T>
void CheckAndRunBackward(Context& context, const WindowSpec& spec,
                         const GlobalProjectionOf<T>& input, const TokenRoles& roles,
                         const AttentionSavedOf<T>& saved, const View<const T, 4>& dout,
                         const DGlobalProjection& gradients) {
  ReassociatedArguments args = CheckArguments(spec, input, roles, saved);
  CheckWindow(dout, "dout", saved.out.extent);
  CheckWindow(gradients.dx, "dx", input.x.extent);
  CheckWindow(gradients.dqg, "dqg", input.qg.extent);
  CheckWindow(gradients.dwk, "dwk", input.wk.extent);
  CheckWindow(gradients.dwv, "dwv", input.wv.extent);
  if (!gradients.dbv.empty()) CheckWindow(gradients.dbv, "dbv", {input.wv.extent[0]});
  args.dout = dout;
  args.gradients = gradients;
  Run(context, spec, std::move(args), true);
}

}  // namespace

void GlobalReassociatedForward(Context& context, const WindowSpec& spec,
                               const GlobalProjection& input, const TokenRoles& roles,
                               const AttentionSaved& saved) {
  Run(context, spec, CheckArguments(spec, input, roles, saved), false);
}

void GlobalReassociatedForward(Context& context, const WindowSpec& spec,
                               const Bf16GlobalProjection& input, const TokenRoles& roles,
                               const Bf16AttentionSaved& saved) {
  Run(context, spec, CheckArguments(spec, input, roles, saved), false);
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
