// Rotary embedding in plain loops, on float, double or std::complex<double>.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "longspan/types.h"

namespace longspan::ref {

// The angle of position p for channel c of a head of `width` channels, as fp32 has it.
inline float RotaryAngle(double theta, idx_t p, idx_t c, idx_t width) {
  const float exponent = static_cast<float>(2 * c) / static_cast<float>(width);
  const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
  return static_cast<float>(p) * (1.0f / power);
}

// Turns x (tokens, heads, width), token t by the angles of positions[t]; `sign` -1: backwards.
template <class T>
std::vector<T> Rotary(const std::vector<T>& x, const std::vector<std::int32_t>& positions,
                      idx_t heads, idx_t width, double theta, double sign) {
  std::vector<T> y(x.size());
  const idx_t half = width / 2;
  for (idx_t row = 0; row < static_cast<idx_t>(positions.size()) * heads; ++row) {
    for (idx_t c = 0; c < half; ++c) {
      const idx_t position = positions[static_cast<std::size_t>(row / heads)];
      const auto angle = static_cast<double>(RotaryAngle(theta, position, c, width));
      const T cosine(std::cos(angle)), sine(sign * std::sin(angle));
      const auto low = static_cast<std::size_t>(row * width + c);
      const auto high = static_cast<std::size_t>(row * width + c + half);
      y[low] = x[low] * cosine - x[high] * sine;
      y[high] = x[high] * cosine + x[low] * sine;
    }
  }
  return y;
}

}  // namespace longspan::ref
