// Layer normalisation (Ba, Kiros, Hinton 2016): y = (x - mean) / sqrt(var + eps) * gamma + beta,
// over the channels of each token, biased variance.
#pragma once

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "tensor/mixed_view.h"

namespace longspan {

struct LayerNormWeights {
  View<const float, 1> gamma;  // (C)
  View<const float, 1> beta;   // (C), or empty: nothing is added
  float eps = 1e-12f;
};
// They accumulate (+=). One that is not wanted is null in its shape.
struct LayerNormGradients {
  View<float, 1> dgamma;  // (C)
  View<float, 1> dbeta;   // (C), empty where beta is
};

// y (T, C) from x (T, C), either of fp32 or bf16: all arithmetic is fp32. y may be x itself.
// `copy`, if not empty, gets y too, rounded when it is bf16: the operand of a product beside the
// residual. Cost ~8 T C flop, one read and one write.
void LayerNormForward(Context& context, const LayerNormWeights& weights, const InMatrix& x,
                      const OutMatrix& y, const OutMatrix& copy = {});

// dx (T, C) += gradient; statistics are computed again from x, so nothing is saved. If neither
// dgamma nor dbeta is wanted, their sums are left out. dx has the same bits.
void LayerNormBackward(Context& context, const LayerNormWeights& weights, const InMatrix& x,
                       const View<const float, 2>& dy, const View<float, 2>& dx,
                       const LayerNormGradients& gradients);

}  // namespace longspan
