// Full attention in plain loops on float, double or std::complex<double>: what the kernels are
// compared with. Shares no code with them. One row of weights at a time.
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "base/rng.h"
#include "longspan/attention.h"

namespace longspan::ref {

// Contiguous (B, H, T, D) tensors; mask (B, T) or empty.
struct FullShape {
  idx_t B = 1, H = 1, T = 1, D = 1;
};

// The float, double or complex number that a real number is.
template <class T>
T FullNumber(double x) {
  return T(static_cast<std::conditional_t<std::is_same_v<T, float>, float, double>>(x));
}

inline double FullReal(float x) { return static_cast<double>(x); }
inline double FullReal(double x) { return x; }
inline double FullReal(const std::complex<double>& x) { return x.real(); }

template <class T>
struct FullWeights {
  std::vector<T> p;            // softmax, by key
  std::vector<T> factor;       // of dropout: 0 or 1 / (1 - p)
  std::vector<bool> constant;  // the score is no function of q and k
  T max = T(0), sum = T(0);    // p = exp(score - max) / sum
};

// The weights of query row (b, h, t). `k` are the keys as they meet q: normalised, in the shared
// form, where a token's score with itself is replaced behind all masks.
template <class T>
FullWeights<T> FullRow(const FullSpec& spec, bool shared, const FullShape& shape, const T* q,
                       const T* k, const std::vector<std::uint8_t>& mask, idx_t b, idx_t h,
                       idx_t t) {
  const idx_t base = (b * shape.H + h) * shape.T;
  const auto n = static_cast<std::size_t>(shape.T);
  const Dropout dropout{spec.dropout.p, spec.dropout.key};
  T scale(1);
  if (!shared) {
    scale = spec.scale != 0.0f ? T(spec.scale)
                               : T(1) / std::sqrt(FullNumber<T>(static_cast<double>(shape.D)));
  }
  FullWeights<T> row;
  row.p.resize(n);
  row.factor.resize(n);
  row.constant.resize(n);
  std::vector<T> score(n);
  std::vector<bool> visible(n);
  bool blind = true;
  double max = 0.0;
  for (idx_t j = 0; j < shape.T; ++j) {
    const auto i = static_cast<std::size_t>(j);
    T s(0);
    for (idx_t d = 0; d < shape.D; ++d) {
      s += q[(base + t) * shape.D + d] * k[(base + j) * shape.D + d];
    }
    const bool itself = shared && j == t;
    score[i] = itself ? T(kSelfScore) : s * scale;
    visible[i] = itself || ((mask.empty() || mask[static_cast<std::size_t>(b * shape.T + j)]) &&
                            (!spec.causal || j <= t));
    if (visible[i] && (blind || FullReal(score[i]) > max)) max = FullReal(score[i]);
    blind = blind && !visible[i];
    row.factor[i] = dropout.active() ? T(dropout.Factor((base + t) * shape.T + j)) : T(1);
    row.constant[i] = itself;
  }
  row.max = FullNumber<T>(max);
  for (std::size_t i = 0; i < n; ++i) {
    if (blind) row.constant[i] = true;
    row.p[i] = blind ? T(1) : (visible[i] ? std::exp(score[i] - row.max) : T(0));
    row.sum += row.p[i];
  }
  for (T& p : row.p) p /= row.sum;
  return row;
}

// Normalised keys of the shared form: k = x / sqrt(mean(x^2) + 1e-6) / sqrt(D).
template <class T>
std::vector<T> FullSharedKeys(const FullShape& shape, const T* x) {
  std::vector<T> k;
  const T root = std::sqrt(FullNumber<T>(static_cast<double>(shape.D)));
  for (idx_t i = 0; i < shape.B * shape.H * shape.T; ++i) {
    T mean(0);
    for (idx_t d = 0; d < shape.D; ++d) mean += x[i * shape.D + d] * x[i * shape.D + d];
    mean /= FullNumber<T>(static_cast<double>(shape.D));
    for (idx_t d = 0; d < shape.D; ++d) {
      k.push_back(x[i * shape.D + d] / std::sqrt(mean + FullNumber<T>(1e-6)) / root);
    }
  }
  return k;
}

// What a pass over the rows writes; nothing where it is null. With `dout` it adds to dq, dk (of the
// keys as they meet q) and dv.
template <class T>
struct FullWrites {
  T *out = nullptr, *lse = nullptr, *max = nullptr, *sum = nullptr;
  const T* dout = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

// Row t of the head that begins at row `base`: what it gives.
template <class T>
void FullRowOutput(const FullWeights<T>& row, idx_t D, const T* v, idx_t base, idx_t t,
                   const FullWrites<T>& w) {
  if (w.lse != nullptr) w.lse[base + t] = row.max + std::log(row.sum);
  if (w.max != nullptr) w.max[base + t] = row.max;
  if (w.sum != nullptr) w.sum[base + t] = row.sum;
  for (idx_t d = 0; d < D; ++d) {
    T value(0);
    for (std::size_t j = 0; j < row.p.size(); ++j) {
      value += row.p[j] * row.factor[j] * v[(base + static_cast<idx_t>(j)) * D + d];
    }
    w.out[(base + t) * D + d] = value;
  }
}

// And its share of the gradients.
template <class T>
void FullRowGradients(const FullWeights<T>& row, idx_t D, T scale, const T* q, const T* k,
                      const T* v, idx_t base, idx_t t, const FullWrites<T>& w) {
  const idx_t query = (base + t) * D;
  std::vector<T> dp(row.p.size(), T(0));
  T mean(0);
  for (std::size_t j = 0; j < row.p.size(); ++j) {
    const idx_t key = (base + static_cast<idx_t>(j)) * D;
    for (idx_t d = 0; d < D; ++d) {
      dp[j] += w.dout[query + d] * v[key + d];
      w.dv[key + d] += row.p[j] * row.factor[j] * w.dout[query + d];
    }
    dp[j] *= row.factor[j];
    mean += row.p[j] * dp[j];
  }
  for (std::size_t j = 0; j < row.p.size(); ++j) {
    if (row.constant[j]) continue;
    const idx_t key = (base + static_cast<idx_t>(j)) * D;
    const T ds = row.p[j] * (dp[j] - mean) * scale;
    for (idx_t d = 0; d < D; ++d) {
      w.dq[query + d] += ds * k[key + d];
      w.dk[key + d] += ds * q[query + d];
    }
  }
}

// Both forms. One row of weights serves output and gradients.
template <class T>
void FullPass(const FullSpec& spec, bool shared, const FullShape& shape, const T* q, const T* k,
              const T* v, const std::vector<std::uint8_t>& mask, const FullWrites<T>& w) {
  T scale(1);
  if (!shared) {
    scale = spec.scale != 0.0f ? T(spec.scale)
                               : T(1) / std::sqrt(FullNumber<T>(static_cast<double>(shape.D)));
  }
  for (idx_t b = 0; b < shape.B; ++b) {
    for (idx_t h = 0; h < shape.H; ++h) {
      const idx_t base = (b * shape.H + h) * shape.T;
      for (idx_t t = 0; t < shape.T; ++t) {
        const auto row = FullRow<T>(spec, shared, shape, q, k, mask, b, h, t);
        if (w.out != nullptr) FullRowOutput(row, shape.D, v, base, t, w);
        if (w.dout != nullptr) FullRowGradients(row, shape.D, scale, q, k, v, base, t, w);
      }
    }
  }
}

// The separate form: out and lse, dq, dk and dv.
template <class T>
void FullBoth(const FullSpec& spec, const FullShape& shape, const T* q, const T* k, const T* v,
              const std::vector<std::uint8_t>& mask, const FullWrites<T>& w) {
  FullPass<T>(spec, false, shape, q, k, v, mask, w);
}

template <class T>
void FullForward(const FullSpec& spec, const FullShape& shape, const T* q, const T* k, const T* v,
                 const std::vector<std::uint8_t>& mask, T* out, T* lse) {
  FullBoth<T>(spec, shape, q, k, v, mask, {out, lse});
}

// The shared form: out, max and sum; adds to dx, by both of its paths, which is w.dq, and to dv.
template <class T>
void FullSharedBoth(const FullSpec& spec, const FullShape& shape, const T* x, const T* v,
                    const std::vector<std::uint8_t>& mask, const FullWrites<T>& w) {
  const idx_t D = shape.D;
  const auto k = FullSharedKeys<T>(shape, x);
  std::vector<T> dk(k.size(), T(0));
  FullWrites<T> pass = w;
  pass.dk = dk.data();
  FullPass<T>(spec, true, shape, x, k.data(), v, mask, pass);
  if (w.dout == nullptr) return;
  const T size = FullNumber<T>(static_cast<double>(D));
  for (idx_t i = 0; i < shape.B * shape.H * shape.T; ++i) {
    // k = x rho / sqrt(D), rho = m^-1/2, m = mean(x^2) + 1e-6.
    T m(0), inner(0);
    for (idx_t d = 0; d < D; ++d) {
      m += x[i * D + d] * x[i * D + d] / size;
      inner += dk[static_cast<std::size_t>(i * D + d)] * x[i * D + d] / std::sqrt(size);
    }
    const T rho = T(1) / std::sqrt(m + FullNumber<T>(1e-6));
    for (idx_t d = 0; d < D; ++d) {
      w.dq[i * D + d] += rho * dk[static_cast<std::size_t>(i * D + d)] / std::sqrt(size) -
                         x[i * D + d] * rho * rho * rho * inner / size;
    }
  }
}

template <class T>
void FullSharedForward(const FullSpec& spec, const FullShape& shape, const T* x, const T* v,
                       const std::vector<std::uint8_t>& mask, T* out, T* max, T* sum) {
  FullSharedBoth<T>(spec, shape, x, v, mask, {out, nullptr, max, sum});
}

}  // namespace longspan::ref
