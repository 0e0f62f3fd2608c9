// The losses of train/vector_losses.h in plain loops on any scalar. They share no code with the
// kernel. Maxima are taken over real parts, so that the complex step differentiates them.
#pragma once

#include <cmath>
#include <complex>
#include <vector>

#include "train/vector_losses.h"

namespace longspan::ref {

inline double RealPart(double x) { return x; }
inline double RealPart(const std::complex<double>& x) { return x.real(); }

// Vectors as rows.
template <class T>
using Rows = std::vector<std::vector<T>>;

template <class T>
T SquaredLength(const std::vector<T>& x) {
  T sum = T(0);
  for (const T& value : x) sum += value * value;
  return sum;
}

// The first `width` numbers of each vector; scaled to length 1 if wanted.
template <class T>
Rows<T> FirstNumbers(const Rows<T>& vectors, idx_t width, bool scaled) {
  Rows<T> first;
  for (const auto& vector : vectors) {
    std::vector<T> x(vector.begin(), vector.begin() + width);
    const T length = std::sqrt(SquaredLength(x));
    for (T& value : x) value = scaled ? value / length : value;
    first.push_back(x);
  }
  return first;
}

template <class T>
T CosineOf(const std::vector<T>& a, const std::vector<T>& b) {
  T dot = T(0);
  for (std::size_t c = 0; c < a.size(); ++c) dot += a[c] * b[c];
  return dot / std::sqrt(SquaredLength(a) * SquaredLength(b));
}

template <class T>
T DistanceOf(const VectorLossSpec& spec, const std::vector<T>& a, const std::vector<T>& b) {
  if (spec.cosine_distance) return T(1) - CosineOf(a, b);
  std::vector<T> difference;
  for (std::size_t c = 0; c < a.size(); ++c) difference.push_back(a[c] - b[c] + T(1e-6));
  return std::sqrt(SquaredLength(difference));
}

// The loss over vectors as they are.
template <class T>
T LossOnce(const VectorLossSpec& spec, const VectorRows& rows, const Rows<T>& x) {
  const auto n = static_cast<std::size_t>(rows.rows);
  T total = T(0);
  if (spec.loss == EmbedLoss::kTriplet) {
    for (std::size_t t = 0; t < rows.negatives_of.size(); ++t) {
      const auto row = static_cast<std::size_t>(rows.negatives_of[t]);
      const T loss = DistanceOf(spec, x[row], x[n + row]) - DistanceOf(spec, x[row], x[2 * n + t]) +
                     T(spec.margin);
      if (RealPart(loss) > 0.0) total += loss;
    }
    return total;
  }
  if (spec.loss == EmbedLoss::kCosent) {
    total = T(1);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        if (rows.scores[i] >= rows.scores[j]) continue;
        total += std::exp(T(spec.scale) * (CosineOf(x[i], x[n + i]) - CosineOf(x[j], x[n + j])));
      }
    }
    return std::log(total);
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (spec.loss == EmbedLoss::kCosine) {
      const T off = CosineOf(x[i], x[n + i]) - T(rows.scores[i]);
      total += off * off;
      continue;
    }
    T sum = T(0);
    for (std::size_t j = n; j < x.size(); ++j) {
      const bool another = j != n + i;
      if (another && (rows.texts[j] == rows.texts[n + i] || rows.texts[j] == rows.texts[i])) {
        continue;
      }
      sum += std::exp(T(spec.scale) * (CosineOf(x[i], x[j]) - CosineOf(x[i], x[n + i])));
    }
    total += std::log(sum);
  }
  return total;
}

template <class T>
T LossOfVectors(const VectorLossSpec& spec, const VectorRows& rows, const Rows<T>& vectors) {
  if (spec.widths.empty()) return LossOnce(spec, rows, vectors);
  T total = T(0);
  for (const idx_t width : spec.widths) {
    total += LossOnce(spec, rows, FirstNumbers(vectors, width, true));
  }
  return total;
}

}  // namespace longspan::ref
