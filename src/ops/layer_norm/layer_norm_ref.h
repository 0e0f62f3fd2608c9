// Layer normalisation in plain loops, on float, double or std::complex<double>.
#pragma once

#include <cmath>
#include <complex>
#include <vector>

#include "longspan/types.h"

namespace longspan {

template <class T>
struct LayerNormReferenceResult {
  std::vector<T> y;                  // (tokens, channels)
  std::vector<T> dx, dgamma, dbeta;  // filled by the backward
};

// y of x (tokens, channels).
template <class T>
std::vector<T> LayerNormReference(const std::vector<T>& x, const std::vector<T>& gamma,
                                  const std::vector<T>& beta, double eps, idx_t tokens) {
  using std::sqrt;
  const std::size_t channels = gamma.size();
  std::vector<T> y(x.size());
  for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) {
    const T* row = x.data() + t * channels;
    T mean(0), variance(0);
    for (std::size_t c = 0; c < channels; ++c) mean += row[c];
    mean /= T(static_cast<double>(channels));
    for (std::size_t c = 0; c < channels; ++c) variance += (row[c] - mean) * (row[c] - mean);
    variance /= T(static_cast<double>(channels));
    const T deviation = sqrt(variance + T(eps));
    for (std::size_t c = 0; c < channels; ++c) {
      y[t * channels + c] = (row[c] - mean) / deviation * gamma[c] + beta[c];
    }
  }
  return y;
}

// Gradients for d loss / d y = dy.
template <class T>
LayerNormReferenceResult<T> LayerNormReferenceBackward(const std::vector<T>& x,
                                                       const std::vector<T>& gamma,
                                                       const std::vector<T>& dy, double eps,
                                                       idx_t tokens) {
  using std::sqrt;
  const std::size_t channels = gamma.size();
  const T count(static_cast<double>(channels));
  LayerNormReferenceResult<T> result;
  result.dx.assign(x.size(), T(0));
  result.dgamma.assign(channels, T(0));
  result.dbeta.assign(channels, T(0));
  std::vector<T> n(channels);
  for (std::size_t t = 0; t < static_cast<std::size_t>(tokens); ++t) {
    const T *row = x.data() + t * channels, *drow = dy.data() + t * channels;
    T mean(0), variance(0), mean_g(0), mean_gn(0);
    for (std::size_t c = 0; c < channels; ++c) mean += row[c];
    mean /= count;
    for (std::size_t c = 0; c < channels; ++c) variance += (row[c] - mean) * (row[c] - mean);
    const T deviation = sqrt(variance / count + T(eps));
    for (std::size_t c = 0; c < channels; ++c) {
      n[c] = (row[c] - mean) / deviation;
      mean_g += drow[c] * gamma[c];
      mean_gn += drow[c] * gamma[c] * n[c];
      result.dgamma[c] += drow[c] * n[c];
      result.dbeta[c] += drow[c];
    }
    mean_g /= count;
    mean_gn /= count;
    for (std::size_t c = 0; c < channels; ++c) {
      result.dx[t * channels + c] = (drow[c] * gamma[c] - mean_g - n[c] * mean_gn) / deviation;
    }
  }
  return result;
}

}  // namespace longspan
