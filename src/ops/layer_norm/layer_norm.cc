#include "ops/layer_norm/layer_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/layer_norm/layer_norm.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "ops/layer_norm/layer_norm-inl.h"

#if HWY_ONCE
#include "base/arena.h"
#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(LayerNormForwardRows);
HWY_EXPORT(LayerNormBackwardRows);
HWY_EXPORT(LayerNormAddPartials);

constexpr idx_t kForwardValues = 1 << 14;  // per task: a few microseconds
constexpr idx_t kFewestBackwardRows = 32;  // per task: keeps the partial sums small beside x
constexpr idx_t kMostPartials = 256;       // rows of partial sums, however long the input
constexpr idx_t kSumColumns = 64;

std::string Shape(const std::array<idx_t, 2>& extent) {
  return ShapeText(std::vector<idx_t>(extent.begin(), extent.end()));
}

void CheckLike(const char* name, const std::array<idx_t, 2>& extent, const InMatrix& x) {
  Check(extent == x.extent, ErrorCode::kUsage, "layer norm: {} is {}, x is {}", name, Shape(extent),
        Shape(x.extent));
}

void CheckChannels(const char* name, const View<const float, 1>& view, const InMatrix& x) {
  Check(view.extent[0] == x.extent[1], ErrorCode::kUsage, "layer norm: {} has {} values, x is {}",
        name, view.extent[0], Shape(x.extent));
}

void CheckWeights(const LayerNormWeights& weights, const InMatrix& x) {
  CheckChannels("gamma", weights.gamma, x);
  if (!weights.beta.empty()) CheckChannels("beta", weights.beta, x);
  Check(weights.eps > 0.0f && weights.eps <= 1.0f, ErrorCode::kUsage,
        "layer norm: eps {} is not above 0 and at most 1", weights.eps);
}

}  // namespace

void LayerNormForward(Context& context, const LayerNormWeights& weights, const InMatrix& x,
                      const OutMatrix& y, const OutMatrix& copy) {
  CheckLike("y", y.extent, x);
  if (!copy.empty()) CheckLike("copy", copy.extent, x);
  CheckWeights(weights, x);
  const idx_t T = x.extent[0], C = x.extent[1];
  if (T == 0 || C == 0) return;
  const idx_t rows = CeilDiv(kForwardValues, C), room = x.bf16 || y.bf16 ? C : 0;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(context.threads() * room));
  float* rooms = frame.Take<float>(context.threads() * room);
  ParallelFor(context, CeilDiv(T, rows), [&](idx_t task, int thread) {
    const idx_t begin = task * rows;
    HWY_DYNAMIC_DISPATCH(LayerNormForwardRows)
    (weights, x, y, copy, rooms + thread * room, begin, std::min(begin + rows, T));
  });
}

void LayerNormBackward(Context& context, const LayerNormWeights& weights, const InMatrix& x,
                       const View<const float, 2>& dy, const View<float, 2>& dx,
                       const LayerNormGradients& gradients) {
  CheckLike("dy", dy.extent, x);
  CheckLike("dx", dx.extent, x);
  CheckWeights(weights, x);
  CheckChannels("dgamma", gradients.dgamma, x);
  idx_t sums = weights.beta.empty() ? 1 : 2;  // of a block: dgamma, and dbeta
  if (sums == 2) CheckChannels("dbeta", gradients.dbeta, x);
  if (gradients.dgamma.empty() && gradients.dbeta.empty()) sums = 0;
  const idx_t T = x.extent[0], C = x.extent[1];
  if (T == 0 || C == 0) return;
  const idx_t rows = std::max(kFewestBackwardRows, CeilDiv(T, kMostPartials));
  const idx_t blocks = CeilDiv(T, rows);
  const idx_t room = x.bf16 ? C : 0;
  Arena::Frame frame(context.arena(), Arena::Bytes<float>(blocks * sums * C) +
                                          Arena::Bytes<float>(context.threads() * room));
  float* rooms = frame.Take<float>(context.threads() * room);
  float* partial = frame.Take<float>(blocks * sums * C);  // (blocks, sums, C)
  ParallelFor(context, blocks, [&](idx_t block, int thread) {
    const idx_t begin = block * rows;
    float* dgamma = sums > 0 ? partial + block * sums * C : nullptr;
    HWY_DYNAMIC_DISPATCH(LayerNormBackwardRows)
    (weights, x, dy, dx, rooms + thread * room, begin, std::min(begin + rows, T), dgamma,
     sums == 2 ? dgamma + C : nullptr);
  });
  if (sums == 0) return;
  ParallelFor(context, CeilDiv(C, kSumColumns), [&](idx_t task, int) {
    const idx_t begin = task * kSumColumns, count = std::min(kSumColumns, C - begin);
    const auto add = [&](const float* sum, const View<float, 1>& total) {
      if (total.empty()) return;
      HWY_DYNAMIC_DISPATCH(LayerNormAddPartials)
      (sum + begin, blocks, sums * C, count, total.data + begin);
    };
    add(partial, gradients.dgamma);
    if (sums == 2) add(partial + C, gradients.dbeta);
  });
}

}  // namespace longspan
#endif  // HWY_ONCE
