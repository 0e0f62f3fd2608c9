// Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983), as torch.optim.SGD.
#pragma once

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "ops/optimizer.h"

namespace longspan {

struct SgdSpec {
  float learning_rate = 1e-2f;
  float momentum = 0.0f;  // 0: the momentum's array is not read, and may be empty
  bool nesterov = false;
  float weight_decay = 0.0f;    // of the weights, added to the gradient
  float gradient_scale = 1.0f;  // clipping
};

// One update of contiguous parameters (n), with g = scale * gradient + decay * w:
// m = momentum * m + g, w -= lr * m; Nesterov's: w -= lr * (g + momentum * m). Sets the gradient to
// zero. One pass over memory, 24 bytes a parameter, without momentum 16. kUsage for numbers out of
// their range and for arrays that do not match.
void SgdStep(Context& context, const SgdSpec& spec, const View<float, 1>& parameter,
             const View<float, 1>& gradient, const View<float, 1>& momentum);

extern const OptimizerRow kSgdRow;

}  // namespace longspan
