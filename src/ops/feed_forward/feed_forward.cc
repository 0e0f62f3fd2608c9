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

// value (rows, F) = act(dropout(x w1^T + b1)) for the slab x that starts at token `begin`; where
// `slope` is not null it becomes d value / d (x w1^T + b1). Both passes of a training step come
// here, so the backward's value is the forward's, bit for bit.
void Hidden(const Block& block, const View<const float, 2>& x, idx_t begin, float* value,
            float* slope) {
  const idx_t rows = x.extent[0];
  float* pre = slope != nullptr ? slope : value;
  gemm::Forward(block.context, x, block.weights.w1, block.weights.b1.data,
                View<float, 2>(pre, {rows, block.F}));
  ForRuns(block.context, rows * block.F, [&](idx_t at, idx_t count) {
    HWY_DYNAMIC_DISPATCH(ActivateRun)
    (block.spec.activation, block.spec.hidden, begin * block.F + at, count, pre + at, value + at,
     slope != nullptr ? slope + at : nullptr);
  });
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

}  // namespace

void FeedForwardForward(Context& context, const FeedForwardSpec& spec,
                        const FeedForwardWeights& weights, const View<const float, 2>& x,
                        const View<float, 2>& y) {
  const Block block = CheckBlock(context, spec, weights, x, "y", y);
  if (block.T == 0) return;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(block.slab * block.F) +
                                          Arena::Bytes<float>(block.slab * block.C));
  float* value = frame.Take<float>(block.slab * block.F);
  float* out = frame.Take<float>(block.slab * block.C);
  for (idx_t begin = 0; begin < block.T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, block.T - begin);
    Hidden(block, x.Rows(begin, rows), begin, value, nullptr);
    Output(block, value, begin, out, y.Rows(begin, rows), false);
  }
}

void FeedForwardBackward(Context& context, const FeedForwardSpec& spec,
                         const FeedForwardWeights& weights, const View<const float, 2>& x,
                         const View<const float, 2>& dy, const View<float, 2>& dx,
                         const FeedForwardGradients& gradients, const View<float, 2>& undo) {
  const Block block = CheckBlock(context, spec, weights, x, "dy", dy);
  const idx_t T = block.T, C = block.C, F = block.F;
  CheckShape<2>("dx", dx, {T, C}, x, F);
  CheckShape<2>("dw1", gradients.dw1, {F, C}, x, F);
  CheckShape<2>("dw2", gradients.dw2, {C, F}, x, F);
  if (!weights.b1.empty()) CheckShape<1>("db1", gradients.db1, {F}, x, F);
  if (!weights.b2.empty()) CheckShape<1>("db2", gradients.db2, {C}, x, F);
  if (!undo.empty()) CheckShape<2>("undo", undo, {T, C}, x, F);
  if (T == 0) return;
  Arena::Frame frame(context.arena(),
                     2 * Arena::Bytes<float>(block.slab * F) + Arena::Bytes<float>(block.slab * C));
  float* value = frame.Take<float>(block.slab * F);  // later the hidden layer's gradient
  float* slope = frame.Take<float>(block.slab * F);
  float* narrow = frame.Take<float>(block.slab * C);
  for (idx_t begin = 0; begin < T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, T - begin);
    const View<const float, 2> x_slab = x.Rows(begin, rows);
    const View<float, 2> hidden(value, {rows, F});
    Hidden(block, x_slab, begin, value, slope);
    if (!undo.empty()) Output(block, value, begin, narrow, undo.Rows(begin, rows), true);
    const View<const float, 2> dout = MaskedGradient(block, dy.Rows(begin, rows), begin, narrow);
    gemm::BackwardWeights(context, dout, hidden, gradients.dw2);
    if (!weights.b2.empty()) gemm::BackwardBias(context, dout, gradients.db2.data);
    gemm::BackwardData(context, dout, weights.w2, hidden);
    ForRuns(context, rows * F, [&](idx_t at, idx_t count) {
      HWY_DYNAMIC_DISPATCH(MultiplyRun)(count, slope + at, value + at);
    });
    gemm::BackwardWeights(context, hidden, x_slab, gradients.dw1);
    if (!weights.b1.empty()) gemm::BackwardBias(context, hidden, gradients.db1.data);
    gemm::BackwardData(context, hidden, weights.w1, dx.Rows(begin, rows), gemm::Store::kAccumulate);
  }
}

}  // namespace longspan
#endif  // HWY_ONCE
