#include "ops/feed_forward/feed_forward.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/feed_forward/feed_forward.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "ops/feed_forward/feed_forward-inl.h"

#if HWY_ONCE
#include <algorithm>

#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "gemm/gemm.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(ActivateRun);
HWY_EXPORT(MultiplyRun);
HWY_EXPORT(MaskRun);
HWY_EXPORT(AddRun);

// Hidden values of one slab: 16 MiB, a few products large enough to run at full speed.
constexpr idx_t kSlabValues = idx_t{1} << 22;
constexpr idx_t kSlabStep = 256;  // slabs are multiples of it: dropout groups end where they end
constexpr idx_t kRun = 1 << 14;   // elements of one task of an element-wise pass

// What every function here needs to know.
struct Block {
  Context& context;
  const FeedForwardSpec& spec;
  const FeedForwardWeights& weights;
  idx_t T, C, F, slab;
};

template <int R>
void CheckShape(const char* name, const View<const float, R>& view,
                const std::array<idx_t, R>& shape, const View<const float, 2>& x, idx_t F) {
  Check(view.extent == shape, ErrorCode::kUsage,
        "feed-forward: {} is {}, not {}; x is {}, the hidden layer {} wide", name, ShapeText(view),
        ShapeText(std::vector<idx_t>(shape.begin(), shape.end())), ShapeText(x), F);
}

void CheckSite(const char* name, const Dropout& site) {
  Check(site.p >= 0.0f && site.p < 1.0f, ErrorCode::kUsage,
        "feed-forward: {} dropout {} is not at least 0 and below 1", name, site.p);
}

Block CheckBlock(Context& context, const FeedForwardSpec& spec, const FeedForwardWeights& weights,
                 const View<const float, 2>& x, const char* other_name,
                 const View<const float, 2>& other) {
  const idx_t T = x.extent[0], C = x.extent[1], F = weights.w1.extent[0];
  CheckShape<2>("w1", weights.w1, {F, C}, x, F);
  CheckShape<2>("w2", weights.w2, {C, F}, x, F);
  if (!weights.b1.empty()) CheckShape<1>("b1", weights.b1, {F}, x, F);
  if (!weights.b2.empty()) CheckShape<1>("b2", weights.b2, {C}, x, F);
  CheckShape<2>(other_name, other, {T, C}, x, F);
  CheckSite("hidden", spec.hidden);
  CheckSite("output", spec.output);
  Check(T == 0 || (C >= 1 && F >= 1), ErrorCode::kUsage,
        "feed-forward: w1 is {}: neither width may be 0", ShapeText(weights.w1));
  const idx_t slab = F == 0 ? kSlabStep : RoundUp(CeilDiv(kSlabValues, F), kSlabStep);
  return {context, spec, weights, T, C, F, std::min(slab, std::max<idx_t>(T, 1))};
}

// Calls run(begin, count) over [0, total), in parallel.
template <class Run>
void ForRuns(Context& context, idx_t total, const Run& run) {
  ParallelFor(context, CeilDiv(total, kRun), [&](idx_t task, int) {
    const idx_t begin = task * kRun;
    run(begin, std::min(kRun, total - begin));
  });
}

// Calls row(t) for every row, some rows a task.
template <class Row>
void ForRows(Context& context, idx_t rows, idx_t cols, const Row& row) {
  const idx_t step = CeilDiv(kRun, cols);
  ParallelFor(context, CeilDiv(rows, step), [&](idx_t task, int) {
    for (idx_t t = task * step; t < std::min(rows, (task + 1) * step); ++t) row(t);
  });
}

// value (rows, F) = act(dropout(pre)) for the slab that starts at token `begin`; where `slope` is
// not null it becomes d value / d pre. Either may be pre itself. Both passes of a training step
// come here, so the backward's value is the forward's, bit for bit.
void Activated(const Block& block, idx_t rows, idx_t begin, const float* pre, float* value,
               float* slope) {
  ForRuns(block.context, rows * block.F, [&](idx_t at, idx_t count) {
    HWY_DYNAMIC_DISPATCH(ActivateRun)
    (block.spec.activation, block.spec.hidden, begin * block.F + at, count, pre + at, value + at,
     slope != nullptr ? slope + at : nullptr);
  });
}

// pre (rows, F) = x w1^T + b1.
void Widened(const Block& block, const View<const float, 2>& x, float* pre) {
  gemm::Forward(block.context, x, block.weights.w1, block.weights.b1.data,
                View<float, 2>(pre, {x.extent[0], block.F}));
}

// y += f or y -= f, f = dropout(value w2^T + b2); `out` (rows, C) is scratch. The product never
// adds into y itself: f must be one rounded number that can be taken away again.
void Output(const Block& block, float* value, idx_t begin, float* out, const View<float, 2>& y,
            bool subtract) {
  const idx_t rows = y.extent[0], C = block.C;
  const Dropout& site = block.spec.output;
  gemm::Forward(block.context, View<float, 2>(value, {rows, block.F}), block.weights.w2,
                block.weights.b2.data, View<float, 2>(out, {rows, C}));
  ForRows(block.context, rows, C, [&](idx_t t) {
    float* f = out + t * C;
    if (site.active()) HWY_DYNAMIC_DISPATCH(MaskRun)(site, (begin + t) * C, C, f, f);
    HWY_DYNAMIC_DISPATCH(AddRun)(C, subtract, f, y.data + t * y.stride[0]);
  });
}

// dy times the mask of the output's dropout: dy itself when that is off, else in `masked`.
View<const float, 2> MaskedGradient(const Block& block, const View<const float, 2>& dy, idx_t begin,
                                    float* masked) {
  const Dropout& site = block.spec.output;
  if (!site.active()) return dy;
  const idx_t rows = dy.extent[0], C = block.C;
  ForRows(block.context, rows, C, [&](idx_t t) {
    HWY_DYNAMIC_DISPATCH(MaskRun)
    (site, (begin + t) * C, C, dy.data + t * dy.stride[0], masked + t * C);
  });
  return View<float, 2>(masked, {rows, C});
}

// Gradients of one slab for dy, given value and slope (rows, F); value becomes the hidden layer's
// gradient. `narrow` (rows, C) is scratch.
void SlabBackward(const Block& block, const View<const float, 2>& x, idx_t begin,
                  const View<float, 2>& value, const float* slope, const View<const float, 2>& dy,
                  float* narrow, const View<float, 2>& dx, const FeedForwardGradients& gradients) {
  Context& context = block.context;
  const View<const float, 2> dout = MaskedGradient(block, dy, begin, narrow);
  gemm::BackwardWeights(context, dout, value, gradients.dw2);
  if (!block.weights.b2.empty()) gemm::BackwardBias(context, dout, gradients.db2.data);
  gemm::BackwardData(context, dout, block.weights.w2, value);
  ForRuns(context, value.size(), [&](idx_t at, idx_t count) {
    HWY_DYNAMIC_DISPATCH(MultiplyRun)(count, slope + at, value.data + at);
  });
  gemm::BackwardWeights(context, value, x, gradients.dw1);
  if (!block.weights.b1.empty()) gemm::BackwardBias(context, value, gradients.db1.data);
  gemm::BackwardData(context, value, block.weights.w1, dx, gemm::Store::kAccumulate);
}

void CheckGradients(const Block& block, const View<const float, 2>& x, const View<float, 2>& dx,
                    const FeedForwardGradients& gradients) {
  const idx_t C = block.C, F = block.F;
  CheckShape<2>("dx", dx, {block.T, C}, x, F);
  CheckShape<2>("dw1", gradients.dw1, {F, C}, x, F);
  CheckShape<2>("dw2", gradients.dw2, {C, F}, x, F);
  if (!block.weights.b1.empty()) CheckShape<1>("db1", gradients.db1, {F}, x, F);
  if (!block.weights.b2.empty()) CheckShape<1>("db2", gradients.db2, {C}, x, F);
}

// What a forward kept, or will keep: rows must be packed, activations run over them in one piece.
void CheckKept(const Block& block, const View<const float, 2>& kept,
               const View<const float, 2>& x) {
  CheckShape<2>("the kept hidden layer", kept, {block.T, block.F}, x, block.F);
  Check(kept.contiguous(), ErrorCode::kUsage, "feed-forward: the kept hidden layer has gaps");
}

template <class T>
void CheckPacked(const char* name, const View<T, 2>& view, const std::array<idx_t, 2>& shape) {
  Check(view.extent == shape && view.contiguous(), ErrorCode::kUsage,
        "activation: {} is {}, need a matrix of {} without gaps", name, ShapeText(view),
        ShapeText(std::vector<idx_t>(shape.begin(), shape.end())));
}

}  // namespace

void FeedForwardForward(Context& context, const FeedForwardSpec& spec,
                        const FeedForwardWeights& weights, const View<const float, 2>& x,
                        const View<float, 2>& y, const View<float, 2>& keep) {
  const Block block = CheckBlock(context, spec, weights, x, "y", y);
  if (!keep.empty()) CheckKept(block, keep, x);
  if (block.T == 0) return;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(block.slab * block.F) +
                                          Arena::Bytes<float>(block.slab * block.C));
  float* value = frame.Take<float>(block.slab * block.F);
  float* out = frame.Take<float>(block.slab * block.C);
  for (idx_t begin = 0; begin < block.T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, block.T - begin);
    float* pre = keep.empty() ? value : keep.Rows(begin, rows).data;
    Widened(block, x.Rows(begin, rows), pre);
    Activated(block, rows, begin, pre, value, nullptr);
    Output(block, value, begin, out, y.Rows(begin, rows), false);
  }
}

void FeedForwardBackward(Context& context, const FeedForwardSpec& spec,
                         const FeedForwardWeights& weights, const View<const float, 2>& x,
                         const View<const float, 2>& dy, const View<float, 2>& dx,
                         const FeedForwardGradients& gradients, const View<float, 2>& undo) {
  const Block block = CheckBlock(context, spec, weights, x, "dy", dy);
  const idx_t T = block.T, F = block.F;
  CheckGradients(block, x, dx, gradients);
  if (!undo.empty()) CheckShape<2>("undo", undo, {T, block.C}, x, F);
  if (T == 0) return;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(block.slab * F) +
                                          Arena::Bytes<float>(block.slab * block.C));
  float* value = frame.Take<float>(block.slab * F);
  float* slope = frame.Take<float>(block.slab * F);
  float* narrow = frame.Take<float>(block.slab * block.C);
  for (idx_t begin = 0; begin < T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, T - begin);
    Widened(block, x.Rows(begin, rows), slope);
    Activated(block, rows, begin, slope, value, slope);
    if (!undo.empty()) Output(block, value, begin, narrow, undo.Rows(begin, rows), true);
    SlabBackward(block, x.Rows(begin, rows), begin, {value, {rows, F}}, slope, dy.Rows(begin, rows),
                 narrow, dx.Rows(begin, rows), gradients);
  }
}

void FeedForwardBackwardKept(Context& context, const FeedForwardSpec& spec,
                             const FeedForwardWeights& weights, const View<const float, 2>& x,
                             const View<const float, 2>& kept, const View<const float, 2>& dy,
                             const View<float, 2>& dx, const FeedForwardGradients& gradients) {
  const Block block = CheckBlock(context, spec, weights, x, "dy", dy);
  const idx_t T = block.T, F = block.F;
  CheckGradients(block, x, dx, gradients);
  CheckKept(block, kept, x);
  if (T == 0) return;
  Arena::Frame frame(context.arena(), 2 * Arena::Bytes<float>(block.slab * F) +
                                          Arena::Bytes<float>(block.slab * block.C));
  float* value = frame.Take<float>(block.slab * F);
  float* slope = frame.Take<float>(block.slab * F);
  float* narrow = frame.Take<float>(block.slab * block.C);
  for (idx_t begin = 0; begin < T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, T - begin);
    Activated(block, rows, begin, kept.Rows(begin, rows).data, value, slope);
    SlabBackward(block, x.Rows(begin, rows), begin, {value, {rows, F}}, slope, dy.Rows(begin, rows),
                 narrow, dx.Rows(begin, rows), gradients);
  }
}

void Activate(Context& context, Activation activation, const View<float, 2>& x,
              const View<float, 2>& slope) {
  CheckPacked("x", x, x.extent);
  if (!slope.empty()) CheckPacked("the slope", slope, x.extent);
  ForRuns(context, x.size(), [&](idx_t at, idx_t count) {
    HWY_DYNAMIC_DISPATCH(ActivateRun)
    (activation, {}, at, count, x.data + at, x.data + at,
     slope.empty() ? nullptr : slope.data + at);
  });
}

void MultiplyBySlope(Context& context, const View<const float, 2>& slope,
                     const View<float, 2>& dx) {
  CheckPacked("dx", dx, dx.extent);
  CheckPacked("the slope", slope, dx.extent);
  ForRuns(context, dx.size(), [&](idx_t at, idx_t count) {
    HWY_DYNAMIC_DISPATCH(MultiplyRun)(count, slope.data + at, dx.data + at);
  });
}

}  // namespace longspan
#endif  // HWY_ONCE
