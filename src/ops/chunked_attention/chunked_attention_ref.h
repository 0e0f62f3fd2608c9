// Chunked attention in plain loops on float, double or std::complex<double>: what the kernels are
// compared with. Shares no code with them.
//
// n = ceil(T / chunk) chunks. The window of a query in chunk c is, for off = -before .. after in
// this order, chunk (c + off) mod n where |off| < n and chunk c itself elsewhere; with T <= chunk
// it is all keys, once. A chunk may occur more than once, and each copy counts.
#pragma once

#include <cmath>
#include <complex>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "base/rng.h"
#include "longspan/attention.h"

namespace longspan::ref {

inline double RealPart(double x) { return x; }
inline double RealPart(float x) { return static_cast<double>(x); }
inline double RealPart(const std::complex<double>& x) { return x.real(); }

// Contiguous (B, H, T, D) tensors; mask (B, T) or empty.
struct ChunkedShape {
  idx_t B = 1, H = 1, T = 1, D = 1;
};

// One entry of a window: a key, and the slot that numbers its dropout.
struct ChunkedEntry {
  idx_t key = 0, slot = 0;
  bool visible = false;
};

// Every existing entry of the window of query t, in order.
inline std::vector<ChunkedEntry> ChunkedWindow(const ChunkedSpec& spec, const ChunkedShape& shape,
                                               const std::vector<std::uint8_t>& mask, idx_t b,
                                               idx_t t) {
  std::vector<ChunkedEntry> window;
  const auto add = [&](idx_t key, idx_t slot) {
    const bool shown = mask.empty() || mask[static_cast<std::size_t>(b * shape.T + key)] != 0;
    window.push_back({key, slot, shown && (!spec.causal || key <= t)});
  };
  if (shape.T <= spec.chunk) {
    for (idx_t key = 0; key < shape.T; ++key) add(key, key);
    return window;
  }
  const idx_t n = (shape.T + spec.chunk - 1) / spec.chunk, c = t / spec.chunk;
  for (idx_t off = -spec.before; off <= spec.after; ++off) {
    const bool itself = off >= n || -off >= n;
    const idx_t p = itself ? c : (c + off + n) % n;
    for (idx_t j = 0; j < spec.chunk; ++j) {
      if (p * spec.chunk + j >= shape.T) continue;
      add(p * spec.chunk + j, (off + spec.before) * spec.chunk + j);
    }
  }
  return window;
}

template <class T>
struct ChunkedWeights {
  std::vector<ChunkedEntry> window;
  std::vector<T> p;       // softmax
  std::vector<T> factor;  // of dropout: 0 or 1 / (1 - p)
  T lse = T(0);
  bool blind = false;  // no key is visible: p is constant
};

// The weights of query row (b, h, t).
template <class T>
ChunkedWeights<T> ChunkedRow(const ChunkedSpec& spec, const ChunkedShape& shape, const T* q,
                             const T* k, const std::vector<std::uint8_t>& mask, idx_t b, idx_t h,
                             idx_t t) {
  ChunkedWeights<T> row;
  row.window = ChunkedWindow(spec, shape, mask, b, t);
  const idx_t base = (b * shape.H + h) * shape.T;
  const T scale =
      spec.scale != 0.0f ? T(spec.scale) : T(1) / std::sqrt(T(static_cast<float>(shape.D)));
  const Dropout dropout{spec.dropout.p, spec.dropout.key};
  const idx_t slots = spec.chunk * (1 + spec.before + spec.after);
  std::vector<T> score;
  double max = -1e300;
  for (const ChunkedEntry& entry : row.window) {
    T s(0);
    for (idx_t d = 0; d < shape.D; ++d) {
      s += q[(base + t) * shape.D + d] * k[(base + entry.key) * shape.D + d];
    }
    score.push_back(s * scale);
    if (entry.visible) max = std::max(max, RealPart(score.back()));
    row.factor.push_back(dropout.active() ? T(dropout.Factor((base + t) * slots + entry.slot))
                                          : T(1));
  }
  row.blind = max == -1e300;
  T sum(0);
  for (std::size_t i = 0; i < score.size(); ++i) {
    T e(0);
    if (row.blind) {
      e = T(1);
    } else if (row.window[i].visible) {
      e = std::exp(
          score[i] -
          T(static_cast<std::conditional_t<std::is_same_v<T, float>, float, double>>(max)));
    }
    row.p.push_back(e);
    sum += e;
  }
  for (T& p : row.p) p /= sum;
  row.lse = std::log(sum);
  if (!row.blind) {
    row.lse += T(static_cast<std::conditional_t<std::is_same_v<T, float>, float, double>>(max));
  }
  return row;
}

template <class T>
void ChunkedForward(const ChunkedSpec& spec, const ChunkedShape& shape, const T* q, const T* k,
                    const T* v, const std::vector<std::uint8_t>& mask, T* out, T* lse) {
  for (idx_t b = 0; b < shape.B; ++b) {
    for (idx_t h = 0; h < shape.H; ++h) {
      const idx_t base = (b * shape.H + h) * shape.T;
      for (idx_t t = 0; t < shape.T; ++t) {
        const auto row = ChunkedRow<T>(spec, shape, q, k, mask, b, h, t);
        lse[base + t] = row.lse;
        for (idx_t d = 0; d < shape.D; ++d) {
          T sum(0);
          for (std::size_t i = 0; i < row.p.size(); ++i) {
            sum += row.p[i] * row.factor[i] * v[(base + row.window[i].key) * shape.D + d];
          }
          out[(base + t) * shape.D + d] = sum;
        }
      }
    }
  }
}

// Adds to dq, dk, dv.
template <class T>
void ChunkedBackward(const ChunkedSpec& spec, const ChunkedShape& shape, const T* q, const T* k,
                     const T* v, const std::vector<std::uint8_t>& mask, const T* dout, T* dq, T* dk,
                     T* dv) {
  const idx_t D = shape.D;
  const T scale = spec.scale != 0.0f ? T(spec.scale) : T(1) / std::sqrt(T(static_cast<float>(D)));
  for (idx_t b = 0; b < shape.B; ++b) {
    for (idx_t h = 0; h < shape.H; ++h) {
      const idx_t base = (b * shape.H + h) * shape.T;
      for (idx_t t = 0; t < shape.T; ++t) {
        const auto row = ChunkedRow<T>(spec, shape, q, k, mask, b, h, t);
        const idx_t query = (base + t) * D;
        std::vector<T> dp(row.p.size(), T(0));
        T mean(0);
        for (std::size_t i = 0; i < row.p.size(); ++i) {
          const idx_t key = (base + row.window[i].key) * D;
          for (idx_t d = 0; d < D; ++d) {
            dp[i] += dout[query + d] * v[key + d];
            dv[key + d] += row.p[i] * row.factor[i] * dout[query + d];
          }
          dp[i] *= row.factor[i];
          mean += row.p[i] * dp[i];
        }
        if (row.blind) continue;
        for (std::size_t i = 0; i < row.p.size(); ++i) {
          const idx_t key = (base + row.window[i].key) * D;
          const T ds = row.p[i] * (dp[i] - mean) * scale;
          for (idx_t d = 0; d < D; ++d) {
            dq[query + d] += ds * k[key + d];
            dk[key + d] += ds * q[query + d];
          }
        }
      }
    }
  }
}

}  // namespace longspan::ref
