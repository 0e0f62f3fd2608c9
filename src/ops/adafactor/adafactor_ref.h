// Adafactor in plain loops on any scalar: the algorithm in torch's documentation, a matrix at a
// time.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ops/adafactor/adafactor.h"

namespace longspan::ref {

template <class T>
struct AdafactorState {
  std::vector<T> w, rows, columns, each;
};

// A state of zeros for a parameter w of this shape.
template <class T>
AdafactorState<T> BeginAdafactor(std::vector<T> w, std::span<const idx_t> shape) {
  AdafactorState<T> state;
  const std::size_t size = w.size();
  state.w = std::move(w);
  if (shape.size() < 2) {
    state.each.assign(size, T(0));
  } else {
    state.rows.assign(size / static_cast<std::size_t>(shape[shape.size() - 1]), T(0));
    state.columns.assign(size / static_cast<std::size_t>(shape[shape.size() - 2]), T(0));
  }
  return state;
}

template <class T>
T RootMeanSquare(const std::vector<T>& x) {
  T sum = T(0);
  for (const T value : x) sum += value * value;
  return std::sqrt(sum / static_cast<T>(x.size()));
}

// The estimate of each squared gradient, after the second moments have taken this one.
template <class T>
std::vector<T> AdafactorVariance(const AdafactorSpec& spec, std::span<const idx_t> shape,
                                 const std::vector<T>& g, AdafactorState<T>& state) {
  const T share = std::pow(static_cast<T>(spec.step), static_cast<T>(spec.beta2_decay));
  const auto take = [&](T& moment, T square) { moment += share * (square - moment); };
  if (shape.size() < 2) {
    for (std::size_t i = 0; i < g.size(); ++i) take(state.each[i], g[i] * g[i]);
    return state.each;
  }
  const auto R = static_cast<std::size_t>(shape[shape.size() - 2]);
  const auto C = static_cast<std::size_t>(shape[shape.size() - 1]);
  std::vector<T> estimate(g.size());
  for (std::size_t matrix = 0; matrix < g.size() / (R * C); ++matrix) {
    const T* x = g.data() + matrix * R * C;
    T* rows = state.rows.data() + matrix * R;
    T* columns = state.columns.data() + matrix * C;
    T mean = T(0);
    for (std::size_t r = 0; r < R; ++r) {
      T sum = T(0);
      for (std::size_t c = 0; c < C; ++c) sum += x[r * C + c] * x[r * C + c];
      take(rows[r], sum / static_cast<T>(C));
      mean += rows[r] / static_cast<T>(R);
    }
    for (std::size_t c = 0; c < C; ++c) {
      T sum = T(0);
      for (std::size_t r = 0; r < R; ++r) sum += x[r * C + c] * x[r * C + c];
      take(columns[c], sum / static_cast<T>(R));
    }
    mean = std::max(mean, static_cast<T>(spec.eps1));
    for (std::size_t r = 0; r < R; ++r) {
      for (std::size_t c = 0; c < C; ++c) {
        estimate[matrix * R * C + r * C + c] = rows[r] * columns[c] / mean;
      }
    }
  }
  return estimate;
}

template <class T>
void AdafactorStep(const AdafactorSpec& spec, std::span<const idx_t> shape,
                   const std::vector<T>& gradient, AdafactorState<T>& state) {
  const T lr = static_cast<T>(spec.learning_rate), eps1 = static_cast<T>(spec.eps1);
  std::vector<T> update = gradient;
  for (T& g : update) g *= static_cast<T>(spec.gradient_scale);
  const std::vector<T> variance = AdafactorVariance(spec, shape, update, state);
  const T rate = std::min(lr, T(1) / std::sqrt(static_cast<T>(spec.step))) *
                 std::max(static_cast<T>(spec.eps2), RootMeanSquare(state.w));
  for (std::size_t i = 0; i < update.size(); ++i) {
    update[i] /= std::sqrt(std::max(variance[i], eps1 * eps1));
  }
  const T clip = std::max(T(1), RootMeanSquare(update) / static_cast<T>(spec.update_clip));
  for (std::size_t i = 0; i < update.size(); ++i) {
    state.w[i] = (T(1) - lr * static_cast<T>(spec.weight_decay)) * state.w[i];
    state.w[i] -= rate / clip * update[i];
  }
}

}  // namespace longspan::ref
