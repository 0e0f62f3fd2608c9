// What the passes of an Adafactor step multiply with, the same for all numbers of a parameter.
#pragma once

namespace longspan {

struct AdafactorFactors {
  float gradient_scale;
  float share;        // of the new squares in the second moments
  float floor;        // least second moment
  float keep;         // 1 - lr * weight_decay
  float rate = 0.0f;  // of the update: known after its second pass
};

}  // namespace longspan
