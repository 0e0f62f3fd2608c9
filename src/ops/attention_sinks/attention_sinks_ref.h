// Attention with a sink in plain loops on any scalar: the sink is a key of the softmax, not a
// factor that is applied afterwards. Shares no code with the kernel.
#pragma once

#include <cmath>
#include <complex>
#include <vector>

#include "longspan/types.h"

namespace longspan::ref {

struct SinkShape {
  idx_t B, H, T, keys, D;
};

// From scores (B, H, T, keys) and values (B, H, keys, D): out (B, H, T, D) and lse (B, H, T), with
// the sink sinks[h] among the keys or, if there are no sinks, without.
template <class T>
void SinkAttention(const SinkShape& s, const T* scores, const T* values,
                   const std::vector<T>& sinks, std::vector<T>* out, std::vector<T>* lse) {
  out->assign(static_cast<std::size_t>(s.B * s.H * s.T * s.D), T(0));
  lse->assign(static_cast<std::size_t>(s.B * s.H * s.T), T(0));
  for (idx_t row = 0; row < s.B * s.H * s.T; ++row) {
    const idx_t head = row / s.T;
    T sum(0);
    if (!sinks.empty()) sum += std::exp(sinks[static_cast<std::size_t>(head % s.H)]);
    for (idx_t j = 0; j < s.keys; ++j) sum += std::exp(scores[row * s.keys + j]);
    (*lse)[static_cast<std::size_t>(row)] = std::log(sum);
    for (idx_t j = 0; j < s.keys; ++j) {
      const T p = std::exp(scores[row * s.keys + j]) / sum;
      for (idx_t d = 0; d < s.D; ++d) {
        (*out)[static_cast<std::size_t>(row * s.D + d)] +=
            p * values[(head * s.keys + j) * s.D + d];
      }
    }
  }
}

// d loss / d sinks for dout (B, H, T, D).
template <class T>
std::vector<T> SinkGradient(const SinkShape& s, const T* scores, const T* values,
                            const std::vector<T>& sinks, const T* dout) {
  std::vector<T> out, lse, gradient(static_cast<std::size_t>(s.H), T(0));
  SinkAttention(s, scores, values, sinks, &out, &lse);
  for (idx_t row = 0; row < s.B * s.H * s.T; ++row) {
    const auto h = static_cast<std::size_t>(row / s.T % s.H);
    T dot(0);
    for (idx_t d = 0; d < s.D; ++d)
      dot += dout[row * s.D + d] * out[static_cast<std::size_t>(row * s.D + d)];
    gradient[h] -= std::exp(sinks[h] - lse[static_cast<std::size_t>(row)]) * dot;
  }
  return gradient;
}

}  // namespace longspan::ref
