// The two-layer feed-forward block: f(x) = drop_out(act(drop_hidden(x w1^T + b1)) w2^T + b2).
// Dropout comes before the activation, as in Hugging Face's Reformer.
// The gated form (Shazeer 2020, GLU Variants Improve Transformer) has a first layer of 2F rows,
// [u | g] = x w1^T + b1, and f(x) = drop_out(drop_hidden(act(u) g) w2^T + b2): dropout comes after
// the product, as in Hugging Face's ModernBERT. Below, W is F, or 2F of a gated block.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/rng.h"
#include "longspan/context.h"
#include "longspan/tensor.h"
#include "streams/residual_stream.h"

namespace longspan {

enum class Activation {
  kRelu,
  kGelu,
  kGeluNew,
  kSilu,
  kTanh,
  kSigmoid,
  kIdentity,
  kRelu2,
  kMish,
  kQuickGelu,
  kRelu6,
  kLeakyRelu,
  kLaplace,
  kGelu10,
};

// Hugging Face's names ("relu", "gelu", "gelu_new", "silu", "swish", "tanh", ...).
// Throws kFormat naming `name` and the known ones, or saying that it has parameters of its own.
Activation ParseActivation(std::string_view name);
std::string_view ActivationName(Activation activation);

template <class T>
struct FeedForwardWeightsOf {
  View<const T, 2> w1;      // (W, C)
  View<const float, 1> b1;  // (W)
  View<const T, 2> w2;      // (C, F)
  View<const float, 1> b2;  // (C)
};
using FeedForwardWeights = FeedForwardWeightsOf<float>;
using Bf16FeedForwardWeights = FeedForwardWeightsOf<bfloat16>;
struct FeedForwardGradients {  // accumulate (+=); one without data is not computed
  View<float, 2> dw1;
  View<float, 1> db1;
  View<float, 2> dw2;
  View<float, 1> db2;
};
struct FeedForwardSpec {
  Activation activation = Activation::kRelu;
  Dropout hidden;   // element t*F + f of the site
  Dropout output;   // element t*C + c of the site
  idx_t first = 0;  // number of the first token, for the elements' numbers
  bool gated = false;
  // Unless it is empty, the numbers (T) of all tokens, which then need not follow each other.
  std::span<const std::int32_t> listed = {};

  RowNumbers numbers() const { return {first, listed}; }
};

// y (T, C) += f(x), x (T, C). Works through slabs of tokens: the (T, W) hidden layer never exists,
// unless `keep` (T, W, contiguous) is there to take x w1^T + b1 for the backward.
// Cost 4 T C F flop, 6 of a gated block.
void FeedForwardForward(Context& context, const FeedForwardSpec& spec,
                        const FeedForwardWeights& weights, const View<const float, 2>& x,
                        const ResidualStream& y, const View<float, 2>& keep = {});

// dx (T, C) += gradient; the hidden layer is computed again. Where `undo` is not empty, it loses
// f(x): undo -= f(x), bit for bit what the forward added (reversible layers).
// Cost 10 T C F flop, 12 with undo; 16 and 18 of a gated block.
void FeedForwardBackward(Context& context, const FeedForwardSpec& spec,
                         const FeedForwardWeights& weights, const View<const float, 2>& x,
                         const View<const float, 2>& dy, const View<float, 2>& dx,
                         const FeedForwardGradients& gradients, const ResidualStream& undo = {});

// The same bits from what the forward kept: 8 T C F flop, 12 of a gated block.
void FeedForwardBackwardKept(Context& context, const FeedForwardSpec& spec,
                             const FeedForwardWeights& weights, const View<const float, 2>& x,
                             const View<const float, 2>& kept, const View<const float, 2>& dy,
                             const View<float, 2>& dx, const FeedForwardGradients& gradients);

// The same with products of bf16: x, the weights and both hidden layers are bf16, activations, the
// sums of products, y and all gradients fp32. dy is rounded for the products alone.
void FeedForwardForward(Context& context, const FeedForwardSpec& spec,
                        const Bf16FeedForwardWeights& weights, const View<const bfloat16, 2>& x,
                        const ResidualStream& y, const View<bfloat16, 2>& keep = {});
void FeedForwardBackward(Context& context, const FeedForwardSpec& spec,
                         const Bf16FeedForwardWeights& weights, const View<const bfloat16, 2>& x,
                         const View<const float, 2>& dy, const View<float, 2>& dx,
                         const FeedForwardGradients& gradients, const ResidualStream& undo = {});
void FeedForwardBackwardKept(Context& context, const FeedForwardSpec& spec,
                             const Bf16FeedForwardWeights& weights,
                             const View<const bfloat16, 2>& x, const View<const bfloat16, 2>& kept,
                             const View<const float, 2>& dy, const View<float, 2>& dx,
                             const FeedForwardGradients& gradients);

// x (T, C, contiguous) becomes act(x); where `slope` of the same shape is not empty, it becomes
// act'(x).
void Activate(Context& context, Activation activation, const View<float, 2>& x,
              const View<float, 2>& slope = {});
// dx (T, C) *= slope: the way back. Both contiguous.
void MultiplyBySlope(Context& context, const View<const float, 2>& slope, const View<float, 2>& dx);

}  // namespace longspan
