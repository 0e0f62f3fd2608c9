// SGD in plain loops, as torch's documentation writes it, on any scalar.
#pragma once

#include <vector>

#include "ops/sgd/sgd.h"

namespace longspan::ref {

template <class T>
struct SgdState {
  std::vector<T> w, m;
};

template <class T>
void SgdStep(const SgdSpec& spec, const std::vector<T>& gradient, SgdState<T>& state) {
  const T momentum = static_cast<T>(spec.momentum);
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    T g = gradient[i] * static_cast<T>(spec.gradient_scale);
    g += static_cast<T>(spec.weight_decay) * state.w[i];
    if (spec.momentum != 0.0f) {
      state.m[i] = momentum * state.m[i] + g;
      g = spec.nesterov ? g + momentum * state.m[i] : state.m[i];
    }
    state.w[i] -= static_cast<T>(spec.learning_rate) * g;
  }
}

}  // namespace longspan::ref
