// Settings of a training step of an encoder.
#pragma once

#include <optional>
#include <vector>

#include "model/step_dropout.h"

namespace longspan {

struct EncoderStep {
  StepDropout dropout;
  // Gradients are those of scale times the sum of the losses; absent: of Hugging Face's mean.
  std::optional<float> scale;
  // (L): layers that save only their input and recompute the rest in the backward, to the same
  // bits. Empty: none.
  std::vector<bool> recompute;
};

}  // namespace longspan
