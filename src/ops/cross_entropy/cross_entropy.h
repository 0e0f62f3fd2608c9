// Linear layer and softmax cross-entropy in one: the logits of the whole text never exist.
#pragma once

#include <span>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

struct CrossEntropyResult {
  double sum = 0.0;   // nats, over the counted labels, weighted, in double and in token order
  idx_t counted = 0;  // labels that are not kIgnoreLabel
  idx_t correct = 0;  // of these, where the largest logit is the label's
};

// With bf16 weights the hidden vectors and the logits' gradient are rounded to bf16 for the three
// products, which are 16 bits wide then; logits, softmax, losses and gradients stay fp32.
template <class T>
struct ClassifierWeightsOf {
  View<const T, 2> w;      // (V, C)
  View<const float, 1> b;  // (V), or empty: no bias
};
using ClassifierWeights = ClassifierWeightsOf<float>;
using Bf16ClassifierWeights = ClassifierWeightsOf<bfloat16>;
struct ClassifierGradients {  // accumulate (+=)
  View<float, 2> dw;          // (V, C); null memory: it is not wanted
  View<float, 1> db;          // may be empty
};

// Loss of logits = h w^T + b against labels (T), h (T, C). Chunks of tokens: memory O(chunk * V).
// `label_weights` (V) multiply the losses of tokens with these labels; empty: 1 each.
// Throws kFormat naming position and label when a label is neither kIgnoreLabel nor in [0, V).
CrossEntropyResult CrossEntropyForward(Context& context, const ClassifierWeights& weights,
                                       const View<const float, 2>& h,
                                       std::span<const std::int32_t> labels,
                                       std::span<const float> label_weights = {});
CrossEntropyResult CrossEntropyForward(Context& context, const Bf16ClassifierWeights& weights,
                                       const View<const float, 2>& h,
                                       std::span<const std::int32_t> labels,
                                       std::span<const float> label_weights = {});

// Loss and gradients in one pass: dh (T, C) is overwritten with dloss_scale * d sum / d h (rows
// with an ignored label become zero), the weight gradients accumulate. Tokens with ignored labels
// cost nothing. Cost 6 C V flop per counted token.
CrossEntropyResult CrossEntropyForwardBackward(Context& context, const ClassifierWeights& weights,
                                               const View<const float, 2>& h,
                                               std::span<const std::int32_t> labels,
                                               float dloss_scale, const View<float, 2>& dh,
                                               const ClassifierGradients& gradients,
                                               std::span<const float> label_weights = {});
CrossEntropyResult CrossEntropyForwardBackward(
    Context& context, const Bf16ClassifierWeights& weights, const View<const float, 2>& h,
    std::span<const std::int32_t> labels, float dloss_scale, const View<float, 2>& dh,
    const ClassifierGradients& gradients, std::span<const float> label_weights = {});

}  // namespace longspan
