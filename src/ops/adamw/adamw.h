// AdamW (Loshchilov, Hutter 2019): Adam with decoupled weight decay, and the gradient's norm.
#pragma once

#include "longspan/context.h"
#include "longspan/tensor.h"
#include "ops/optimizer.h"

namespace longspan {

struct AdamWSpec {
  float learning_rate = 1e-3f;
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float eps = 1e-8f;
  float weight_decay = 0.0f;
  idx_t step = 1;               // counts from 1: bias correction
  float gradient_scale = 1.0f;  // clipping and accumulation in one factor
};

// One update of contiguous parameters (n): w -= lr * (mhat / (sqrt(vhat) + eps) + decay * w).
// Sets the gradient to zero on the way. One pass over memory, 32 bytes a parameter.
void AdamWStep(Context& context, const AdamWSpec& spec, const View<float, 1>& parameter,
               const View<float, 1>& gradient, const View<float, 1>& first_moment,
               const View<float, 1>& second_moment);

extern const OptimizerRow kAdamWRow;

// Sum of squares in double, in a fixed order. Not finite when any element is not.
double SquaredNorm(Context& context, const View<const float, 1>& gradient);
// The sums that SquaredNorm adds in their order: one of each kSquaredBlock elements and of the
// rest.
inline constexpr idx_t kSquaredBlock = 16384;
void SquaredBlocks(Context& context, const View<const float, 1>& gradient, double* sums);

}  // namespace longspan
