// What an AdamW step multiplies with: computed once in double, the same for every parameter.
#pragma once

#include "ops/adamw/adamw.h"

namespace longspan {

struct AdamWFactors {
  float gradient_scale;
  float beta1, one_minus_beta1;
  float beta2, one_minus_beta2;
  float step_size;        // lr / (1 - beta1^t)
  float root_correction;  // 1 / sqrt(1 - beta2^t)
  float eps;
  float keep;  // 1 - lr * weight_decay
};

// The factors of `spec`'s step.
AdamWFactors MakeAdamWFactors(const AdamWSpec& spec);

}  // namespace longspan
