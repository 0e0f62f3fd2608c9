// AdamW in plain loops, written as the paper's algorithm 2, on any scalar.
#pragma once

#include <cmath>
#include <vector>

#include "ops/adamw/adamw.h"

namespace longspan::ref {

template <class T>
struct AdamWState {
  std::vector<T> w, m, v;
};

template <class T>
void AdamWStep(const AdamWSpec& spec, const std::vector<T>& gradient, AdamWState<T>& state) {
  const T beta1 = static_cast<T>(spec.beta1), beta2 = static_cast<T>(spec.beta2);
  const T lr = static_cast<T>(spec.learning_rate);
  const T correction1 = T(1) - std::pow(beta1, static_cast<T>(spec.step));
  const T correction2 = T(1) - std::pow(beta2, static_cast<T>(spec.step));
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const T g = gradient[i] * static_cast<T>(spec.gradient_scale);
    state.m[i] = beta1 * state.m[i] + (T(1) - beta1) * g;
    state.v[i] = beta2 * state.v[i] + (T(1) - beta2) * g * g;
    const T m_hat = state.m[i] / correction1, v_hat = state.v[i] / correction2;
    state.w[i] -= lr * (m_hat / (std::sqrt(v_hat) + static_cast<T>(spec.eps)) +
                        static_cast<T>(spec.weight_decay) * state.w[i]);
  }
}

}  // namespace longspan::ref
