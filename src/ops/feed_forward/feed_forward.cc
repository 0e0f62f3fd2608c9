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
HWY_EXPORT(ActivateHalvesRun);
HWY_EXPORT(MultiplyRun);
HWY_EXPORT(MultiplyHalvesRun);
HWY_EXPORT(MaskRun);
HWY_EXPORT(GateRow);
HWY_EXPORT(GateHalvesRow);

// Hidden values of one slab: 16 MiB, a few products large enough to run at full speed.
constexpr idx_t kSlabValues = idx_t{1} << 22;
constexpr idx_t kSlabStep = 256;  // slabs are multiples of it: dropout groups end where they end
constexpr idx_t kRun = 1 << 14;   // elements of one task of an element-wise pass

// What every function here needs to know. Term: float or bfloat16, what products multiply.
template <class Term>
struct BlockOf {
  Context& context;
  const FeedForwardSpec& spec;
  const FeedForwardWeightsOf<Term>& weights;
  idx_t T, C, F, slab;
  idx_t width;  // W: of the hidden layer before its activation, 2F of a gated block
};

template <std::size_t R>
std::string Shape(const std::array<idx_t, R>& extent) {
  return ShapeText(std::vector<idx_t>(extent.begin(), extent.end()));
}

template <std::size_t R, class X>
void CheckExtent(const char* name, const std::array<idx_t, R>& extent,
                 const std::type_identity_t<std::array<idx_t, R>>& shape, const View<X, 2>& x,
                 idx_t F) {
  Check(extent == shape, ErrorCode::kUsage,
        "feed-forward: {} is {}, not {}; x is {}, the hidden layer {} wide", name, Shape(extent),
        Shape(shape), ShapeText(x), F);
}

template <int R, class V, class X>
void CheckShape(const char* name, const View<V, R>& view,
                const std::type_identity_t<std::array<idx_t, R>>& shape, const View<X, 2>& x,
                idx_t F) {
  CheckExtent(name, view.extent, shape, x, F);
}

void CheckSite(const char* name, const Dropout& site) {
  Check(site.p >= 0.0f && site.p < 1.0f, ErrorCode::kUsage,
        "feed-forward: {} dropout {} is not at least 0 and below 1", name, site.p);
}

template <class W>
BlockOf<W> CheckBlock(Context& context, const FeedForwardSpec& spec,
                      const FeedForwardWeightsOf<W>& weights, const View<const W, 2>& x,
                      const char* other_name, const std::array<idx_t, 2>& other) {
  const idx_t T = x.extent[0], C = x.extent[1], width = weights.w1.extent[0];
  Check(!spec.gated || width % 2 == 0, ErrorCode::kUsage,
        "feed-forward: w1 is {}, a gated block needs an even number of rows",
        ShapeText(weights.w1));
  const idx_t F = spec.gated ? width / 2 : width;
  CheckShape("w1", weights.w1, {width, C}, x, F);
  CheckShape("w2", weights.w2, {C, F}, x, F);
  if (!weights.b1.empty()) CheckShape("b1", weights.b1, {width}, x, F);
  if (!weights.b2.empty()) CheckShape("b2", weights.b2, {C}, x, F);
  CheckExtent(other_name, other, {T, C}, x, F);
  Check(spec.listed.empty() || std::ssize(spec.listed) == T, ErrorCode::kUsage,
        "feed-forward: {} numbers for {} tokens", spec.listed.size(), T);
  CheckSite("hidden", spec.hidden);
  CheckSite("output", spec.output);
  Check(T == 0 || (C >= 1 && F >= 1), ErrorCode::kUsage,
        "feed-forward: w1 is {}: neither width may be 0", ShapeText(weights.w1));
  const idx_t slab = F == 0 ? kSlabStep : RoundUp(CeilDiv(kSlabValues, width), kSlabStep);
  return {context, spec, weights, T, C, F, std::min(slab, std::max<idx_t>(T, 1)), width};
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

// value (rows, F) = dropout(act(u) g) for the slab that starts at token `begin`, pre = [u | g]
// (rows, 2F); where `slope` (rows, 2F) is not null it becomes d value / d pre. It may be pre
// itself.
template <class T>
void Gated(const BlockOf<T>& block, idx_t rows, idx_t begin, const T* pre, T* value, T* slope) {
  const idx_t F = block.F;
  ForRows(block.context, rows, block.width, [&](idx_t t) {
    const idx_t first = block.spec.numbers()(begin + t) * F;
    const T* u = pre + t * block.width;
    T* slopes = slope != nullptr ? slope + t * block.width : nullptr;
    if constexpr (sizeof(T) == 2) {
      HWY_DYNAMIC_DISPATCH(GateHalvesRow)
      (block.spec.activation, block.spec.hidden, first, F, u, value + t * F, slopes);
    } else {
      HWY_DYNAMIC_DISPATCH(GateRow)
      (block.spec.activation, block.spec.hidden, first, F, u, value + t * F, slopes);
    }
  });
}

// value (rows, F) = act(dropout(pre)) for the slab that starts at token `begin`; where `slope` is
// not null it becomes d value / d pre. Either may be pre itself. Both passes of a training step
// come here, so the backward's value is the forward's, bit for bit.
template <class T>
void Activated(const BlockOf<T>& block, idx_t rows, idx_t begin, const T* pre, T* value, T* slope) {
  if (block.spec.gated) return Gated(block, rows, begin, pre, value, slope);
  const idx_t F = block.F;
  const auto run = [&](idx_t first, idx_t at, idx_t count) {
    T* slopes = slope != nullptr ? slope + at : nullptr;
    if constexpr (sizeof(T) == 2) {
      HWY_DYNAMIC_DISPATCH(ActivateHalvesRun)
      (block.spec.activation, block.spec.hidden, first, count, pre + at, value + at, slopes);
    } else {
      HWY_DYNAMIC_DISPATCH(ActivateRun)
      (block.spec.activation, block.spec.hidden, first, count, pre + at, value + at, slopes);
    }
  };
  if (!block.spec.listed.empty() && block.spec.hidden.active()) {
    return ForRows(block.context, rows, F,
                   [&](idx_t t) { run(block.spec.numbers()(begin + t) * F, t * F, F); });
  }
  ForRuns(block.context, rows * F,
          [&](idx_t at, idx_t count) { run((block.spec.first + begin) * F + at, at, count); });
}

// pre (rows, W) = x w1^T + b1.
template <class T>
void Widened(const BlockOf<T>& block, const View<const T, 2>& x, T* pre) {
  gemm::Forward(block.context, x, block.weights.w1, block.weights.b1.data,
                View<T, 2>(pre, {x.extent[0], block.width}));
}

// y += f or y -= f, f = dropout(value w2^T + b2); `out` (rows, C) is scratch. The product never
// adds into y itself: f must be one rounded number that can be taken away again.
template <class T>
void Output(const BlockOf<T>& block, T* value, idx_t begin, float* out, const ResidualStream& y,
            bool subtract) {
  const idx_t rows = y.extent[0], C = block.C;
  const Dropout& site = block.spec.output;
  const View<float, 2> f(out, {rows, C});
  gemm::Forward(block.context, View<T, 2>(value, {rows, block.F}), block.weights.w2,
                block.weights.b2.data, f);
  if (site.active()) {
    ForRows(block.context, rows, C, [&](idx_t t) {
      const idx_t first = block.spec.numbers()(begin + t) * C;
      HWY_DYNAMIC_DISPATCH(MaskRun)(site, first, C, out + t * C, out + t * C);
    });
  }
  if (subtract) return SubtractRows(block.context, f, y);
  AddRows(block.context, f, y);
}

// dy times the mask of the output's dropout: dy itself when that is off, else in `masked`.
template <class T>
View<const float, 2> MaskedGradient(const BlockOf<T>& block, const View<const float, 2>& dy,
                                    idx_t begin, float* masked) {
  const Dropout& site = block.spec.output;
  if (!site.active()) return dy;
  const idx_t rows = dy.extent[0], C = block.C;
  ForRows(block.context, rows, C, [&](idx_t t) {
    HWY_DYNAMIC_DISPATCH(MaskRun)
    (site, block.spec.numbers()(begin + t) * C, C, dy.data + t * dy.stride[0], masked + t * C);
  });
  return View<float, 2>(masked, {rows, C});
}

// Scratch of a slab on its way back.
template <class T>
struct SlabScratch {
  T *value, *slope;     // (slab, F), (slab, W)
  float* masked;        // (slab, C)
  bfloat16* bf16_dout;  // (slab, C), bf16 only

  static std::size_t Bytes(const BlockOf<T>& block) {
    return Arena::Bytes<T>(block.slab * block.F) + Arena::Bytes<T>(block.slab * block.width) +
           Arena::Bytes<float>(block.slab * block.C) + Arena::Bytes<bfloat16>(Bf16Count(block));
  }
  SlabScratch(const BlockOf<T>& block, Arena::Frame& frame)
      : value(frame.Take<T>(block.slab * block.F)),
        slope(frame.Take<T>(block.slab * block.width)),
        masked(frame.Take<float>(block.slab * block.C)),
        bf16_dout(frame.Take<bfloat16>(Bf16Count(block))) {}

 private:
  static idx_t Bf16Count(const BlockOf<T>& block) {
    return sizeof(T) == 2 ? block.slab * block.C : 0;
  }
};

// to[i] *= factor[i], i in [0, count).
template <class T>
void Multiplied(idx_t count, const T* factor, T* to) {
  if constexpr (sizeof(T) == 2) {
    HWY_DYNAMIC_DISPATCH(MultiplyHalvesRun)(count, factor, to);
  } else {
    HWY_DYNAMIC_DISPATCH(MultiplyRun)(count, factor, to);
  }
}

// The gradient of pre (rows, W) from that of the hidden layer, which is in `value`: where value is,
// or of a gated block where the slopes are.
template <class T>
View<T, 2> SlabSlopes(const BlockOf<T>& block, const SlabScratch<T>& scratch, idx_t rows) {
  const idx_t F = block.F;
  if (block.spec.gated) {
    ForRows(block.context, rows, block.width, [&](idx_t t) {
      Multiplied(F, scratch.value + t * F, scratch.slope + t * block.width);
      Multiplied(F, scratch.value + t * F, scratch.slope + t * block.width + F);
    });
    return {scratch.slope, {rows, block.width}};
  }
  ForRuns(block.context, rows * F, [&](idx_t at, idx_t count) {
    Multiplied(count, scratch.slope + at, scratch.value + at);
  });
  return {scratch.value, {rows, F}};
}

// Gradients of one slab for dy, given value and slope, which are scratch afterwards.
template <class T>
void SlabBackward(const BlockOf<T>& block, const View<const T, 2>& x, idx_t begin,
                  const SlabScratch<T>& scratch, const View<const float, 2>& dy,
                  const View<float, 2>& dx, const FeedForwardGradients& gradients) {
  Context& context = block.context;
  const View<T, 2> value(scratch.value, {x.extent[0], block.F});
  const View<const float, 2> dout = MaskedGradient(block, dy, begin, scratch.masked);
  gemm::ConstMatrix terms = dout;
  if constexpr (sizeof(T) == 2) {
    const View<bfloat16, 2> rounded(scratch.bf16_dout, dout.extent);
    gemm::Round(context, dout, rounded);
    terms = rounded;
  }
  gemm::BackwardWeights(context, terms, value, gradients.dw2);
  if (!gradients.db2.empty()) gemm::BackwardBias(context, dout, gradients.db2.data);
  gemm::BackwardData(context, terms, block.weights.w2, value);
  const View<T, 2> dpre = SlabSlopes(block, scratch, x.extent[0]);
  gemm::BackwardWeights(context, dpre, x, gradients.dw1);
  if (!gradients.db1.empty()) gemm::BackwardBias(context, dpre, gradients.db1.data);
  gemm::BackwardData(context, dpre, block.weights.w1, dx, gemm::Store::kAccumulate);
}

template <class T>
void CheckGradients(const BlockOf<T>& block, const View<const T, 2>& x, const View<float, 2>& dx,
                    const FeedForwardGradients& gradients) {
  const idx_t C = block.C, F = block.F, width = block.width;
  CheckShape("dx", dx, {block.T, C}, x, F);
  CheckShape("dw1", gradients.dw1, {width, C}, x, F);
  CheckShape("dw2", gradients.dw2, {C, F}, x, F);
  if (!block.weights.b1.empty()) CheckShape("db1", gradients.db1, {width}, x, F);
  if (!block.weights.b2.empty()) CheckShape("db2", gradients.db2, {C}, x, F);
}

// What a forward kept, or will keep: rows must be packed, activations run over them in one piece.
template <class T, class Kept>
void CheckKept(const BlockOf<T>& block, const View<Kept, 2>& kept, const View<const T, 2>& x) {
  CheckShape("the kept hidden layer", kept, {block.T, block.width}, x, block.F);
  Check(kept.contiguous(), ErrorCode::kUsage, "feed-forward: the kept hidden layer has gaps");
}

template <class T>
void CheckPacked(const char* name, const View<T, 2>& view, const std::array<idx_t, 2>& shape) {
  Check(view.extent == shape && view.contiguous(), ErrorCode::kUsage,
        "activation: {} is {}, need a matrix of {} without gaps", name, ShapeText(view),
        ShapeText(std::vector<idx_t>(shape.begin(), shape.end())));
}

template <class T>
void RunForward(Context& context, const FeedForwardSpec& spec,
                const FeedForwardWeightsOf<T>& weights, const View<const T, 2>& x,
                const ResidualStream& y, const View<T, 2>& keep) {
  const BlockOf<T> block = CheckBlock<T>(context, spec, weights, x, "y", y.extent);
  if (!keep.empty()) CheckKept(block, keep, x);
  if (block.T == 0) return;
  // A gated block's hidden layer is wider before its activation than after it.
  const idx_t apart = block.spec.gated && keep.empty() ? block.slab * block.width : 0;
  Arena::Frame frame(context.arena(), Arena::Bytes<T>(block.slab * block.F) +
                                          Arena::Bytes<T>(apart) +
                                          Arena::Bytes<float>(block.slab * block.C));
  T* value = frame.Take<T>(block.slab * block.F);
  T* wide = apart > 0 ? frame.Take<T>(apart) : value;
  float* out = frame.Take<float>(block.slab * block.C);
  for (idx_t begin = 0; begin < block.T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, block.T - begin);
    T* pre = keep.empty() ? wide : keep.Rows(begin, rows).data;
    Widened(block, x.Rows(begin, rows), pre);
    Activated<T>(block, rows, begin, pre, value, nullptr);
    Output(block, value, begin, out, y.Rows(begin, rows), false);
  }
}

template <class T>
void RunBackward(Context& context, const FeedForwardSpec& spec,
                 const FeedForwardWeightsOf<T>& weights, const View<const T, 2>& x,
                 const View<const float, 2>& dy, const View<float, 2>& dx,
                 const FeedForwardGradients& gradients, const ResidualStream& undo) {
  const BlockOf<T> block = CheckBlock<T>(context, spec, weights, x, "dy", dy.extent);
  CheckGradients(block, x, dx, gradients);
  if (!undo.empty()) CheckExtent("undo", undo.extent, {block.T, block.C}, x, block.F);
  if (block.T == 0) return;
  Arena::Frame frame(context.arena(), SlabScratch<T>::Bytes(block));
  const SlabScratch<T> scratch(block, frame);
  for (idx_t begin = 0; begin < block.T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, block.T - begin);
    Widened(block, x.Rows(begin, rows), scratch.slope);
    Activated<T>(block, rows, begin, scratch.slope, scratch.value, scratch.slope);
    if (!undo.empty()) {
      Output(block, scratch.value, begin, scratch.masked, undo.Rows(begin, rows), true);
    }
    SlabBackward(block, x.Rows(begin, rows), begin, scratch, dy.Rows(begin, rows),
                 dx.Rows(begin, rows), gradients);
  }
}

template <class T>
void RunBackwardKept(Context& context, const FeedForwardSpec& spec,
                     const FeedForwardWeightsOf<T>& weights, const View<const T, 2>& x,
                     const View<const T, 2>& kept, const View<const float, 2>& dy,
                     const View<float, 2>& dx, const FeedForwardGradients& gradients) {
  const BlockOf<T> block = CheckBlock<T>(context, spec, weights, x, "dy", dy.extent);
  CheckGradients(block, x, dx, gradients);
  CheckKept(block, kept, x);
  if (block.T == 0) return;
  Arena::Frame frame(context.arena(), SlabScratch<T>::Bytes(block));
  const SlabScratch<T> scratch(block, frame);
  for (idx_t begin = 0; begin < block.T; begin += block.slab) {
    const idx_t rows = std::min(block.slab, block.T - begin);
    Activated<T>(block, rows, begin, kept.Rows(begin, rows).data, scratch.value, scratch.slope);
    SlabBackward(block, x.Rows(begin, rows), begin, scratch, dy.Rows(begin, rows),
                 dx.Rows(begin, rows), gradients);
  }
}

}  // namespace

void FeedForwardForward(Context& context, const FeedForwardSpec& spec,
                        const FeedForwardWeights& weights, const View<const float, 2>& x,
                        const ResidualStream& y, const View<float, 2>& keep) {
  RunForward<float>(context, spec, weights, x, y, keep);
}

void FeedForwardForward(Context& context, const FeedForwardSpec& spec,
                        const Bf16FeedForwardWeights& weights, const View<const bfloat16, 2>& x,
                        const ResidualStream& y, const View<bfloat16, 2>& keep) {
  RunForward<bfloat16>(context, spec, weights, x, y, keep);
}

void FeedForwardBackward(Context& context, const FeedForwardSpec& spec,
                         const FeedForwardWeights& weights, const View<const float, 2>& x,
                         const View<const float, 2>& dy, const View<float, 2>& dx,
                         const FeedForwardGradients& gradients, const ResidualStream& undo) {
  RunBackward<float>(context, spec, weights, x, dy, dx, gradients, undo);
}

void FeedForwardBackward(Context& context, const FeedForwardSpec& spec,
                         const Bf16FeedForwardWeights& weights, const View<const bfloat16, 2>& x,
                         const View<const float, 2>& dy, const View<float, 2>& dx,
                         const FeedForwardGradients& gradients, const ResidualStream& undo) {
  RunBackward<bfloat16>(context, spec, weights, x, dy, dx, gradients, undo);
}

void FeedForwardBackwardKept(Context& context, const FeedForwardSpec& spec,
                             const FeedForwardWeights& weights, const View<const float, 2>& x,
                             const View<const float, 2>& kept, const View<const float, 2>& dy,
                             const View<float, 2>& dx, const FeedForwardGradients& gradients) {
  RunBackwardKept<float>(context, spec, weights, x, kept, dy, dx, gradients);
}

void FeedForwardBackwardKept(Context& context, const FeedForwardSpec& spec,
                             const Bf16FeedForwardWeights& weights,
                             const View<const bfloat16, 2>& x, const View<const bfloat16, 2>& kept,
                             const View<const float, 2>& dy, const View<float, 2>& dx,
                             const FeedForwardGradients& gradients) {
  RunBackwardKept<bfloat16>(context, spec, weights, x, kept, dy, dx, gradients);
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
