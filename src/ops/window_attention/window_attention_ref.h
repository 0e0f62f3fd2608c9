// Longformer's attention in plain loops on float, double or std::complex<double>: what the kernels
// are compared with. Shares no code with them. The dense oracle: every query looks at every key and
// asks whether it sees it; one row of weights at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstddef>
#include <type_traits>
#include <vector>

#include "base/rng.h"
#include "longspan/attention.h"

namespace longspan::ref {

// Contiguous (B, H, T, D) tensors; roles (B, T) or empty; global queries (B, H, G, D).
struct WindowShape {
  idx_t B = 1, H = 1, T = 1, D = 1, G = 0;
};

using Roles = std::vector<std::uint8_t>;

// The float, double or complex number that a real number is.
template <class T>
T WindowNumber(double x) {
  return T(static_cast<std::conditional_t<std::is_same_v<T, float>, float, double>>(x));
}

inline double WindowReal(float x) { return static_cast<double>(x); }
inline double WindowReal(double x) { return x; }
inline double WindowReal(const std::complex<double>& x) { return x.real(); }

inline int WindowRole(const Roles& roles, const WindowShape& shape, idx_t b, idx_t t) {
  if (roles.empty()) return 1;
  const int role = roles[static_cast<std::size_t>(b * shape.T + t)];
  return role > 2 ? 1 : role;
}

// A[i, j]: query i of head h sees key j.
inline bool WindowSees(const WindowSpec& spec, const WindowShape& shape, const Roles& roles,
                       idx_t b, idx_t h, idx_t i, idx_t j) {
  const int query = WindowRole(roles, shape, b, i), key = WindowRole(roles, shape, b, j);
  if (query == 0 || key == 0 || (spec.causal && j > i)) return false;
  if (query == 2 || key == 2) return true;
  const idx_t dilation = spec.dilation.empty() ? 1 : spec.dilation[static_cast<std::size_t>(h)];
  if ((j - i) % dilation != 0) return false;
  const idx_t step = (j - i) / dilation;
  return step >= -spec.left && step <= spec.right;
}

template <class T>
struct WindowRow {
  std::vector<idx_t> keys;  // that it sees
  std::vector<T> p;         // softmax over them
  std::vector<T> factor;    // of dropout: 0 or 1 / (1 - p)
  T lse = T(0);
};

template <class T>
T WindowScale(const WindowSpec& spec, idx_t D) {
  if (spec.scale != 0.0f) return T(spec.scale);
  return T(1) / std::sqrt(WindowNumber<T>(static_cast<double>(D)));
}

// The weights of query i, whose projection is q; k (B, H, T, D). i is not hidden.
template <class T>
WindowRow<T> WindowWeights(const WindowSpec& spec, const WindowShape& shape, const Roles& roles,
                           const T* q, const T* k, idx_t b, idx_t h, idx_t i) {
  const idx_t head = (b * shape.H + h) * shape.T;
  const idx_t drawn = spec.dropout.Head(b, h, shape.H) * shape.T;
  const Dropout dropout{spec.dropout.p, spec.dropout.key};
  const idx_t left = std::min(spec.left, shape.T - 1);
  const idx_t right = spec.causal ? 0 : std::min(spec.right, shape.T - 1);
  const idx_t slots = left + 1 + right + shape.T;
  const idx_t dilation = spec.dilation.empty() ? 1 : spec.dilation[static_cast<std::size_t>(h)];
  const T scale = WindowScale<T>(spec, shape.D);
  const bool global = WindowRole(roles, shape, b, i) == 2;
  WindowRow<T> row;
  double max = 0.0;
  idx_t rank = 0;  // of the next global token
  for (idx_t j = 0; j < shape.T; ++j) {
    const bool global_key = WindowRole(roles, shape, b, j) == 2;
    if (global_key) ++rank;
    if (!WindowSees(spec, shape, roles, b, h, i, j)) continue;
    T s(0);
    for (idx_t d = 0; d < shape.D; ++d) s += q[d] * k[(head + j) * shape.D + d];
    s *= scale;
    if (row.keys.empty() || WindowReal(s) > max) max = WindowReal(s);
    row.keys.push_back(j);
    row.p.push_back(s);
    idx_t slot = j;
    if (!global) slot = global_key ? left + 1 + right + rank - 1 : (j - i) / dilation + left;
    const idx_t element = (drawn + i) * slots + slot;
    row.factor.push_back(dropout.active() ? T(dropout.Factor(element)) : T(1));
  }
  T sum(0);
  for (T& p : row.p) {
    p = std::exp(p - WindowNumber<T>(max));
    sum += p;
  }
  for (T& p : row.p) p /= sum;
  row.lse = WindowNumber<T>(max) + std::log(sum);
  return row;
}

// out (D) = sum of f p v.
template <class T>
void WindowMix(const WindowRow<T>& row, const WindowShape& shape, const T* v, idx_t head, T* out) {
  for (idx_t d = 0; d < shape.D; ++d) {
    out[d] = T(0);
    for (std::size_t n = 0; n < row.keys.size(); ++n) {
      out[d] += row.p[n] * row.factor[n] * v[(head + row.keys[n]) * shape.D + d];
    }
  }
}

// One row's share of dq (D), dk and dv (B, H, T, D).
template <class T>
void WindowRowGradients(const WindowRow<T>& row, const WindowShape& shape, T scale, const T* q,
                        const T* k, const T* v, idx_t head, const T* dout, T* dq, T* dk, T* dv) {
  const idx_t D = shape.D;
  std::vector<T> dp(row.keys.size(), T(0));
  T mean(0);
  for (std::size_t n = 0; n < dp.size(); ++n) {
    const idx_t key = (head + row.keys[n]) * D;
    for (idx_t d = 0; d < D; ++d) {
      dp[n] += dout[d] * v[key + d];
      dv[key + d] += row.p[n] * row.factor[n] * dout[d];
    }
    dp[n] *= row.factor[n];
    mean += row.p[n] * dp[n];
  }
  for (std::size_t n = 0; n < dp.size(); ++n) {
    const idx_t key = (head + row.keys[n]) * D;
    const T ds = row.p[n] * (dp[n] - mean) * scale;
    for (idx_t d = 0; d < D; ++d) {
      dq[d] += ds * k[key + d];
      dk[key + d] += ds * q[d];
    }
  }
}

// Calls use(b, h, i, row of a (B, H, T) tensor, row of a (B, H, G) tensor) for tokens of this role.
template <class Use>
void ForWindowRows(const WindowShape& shape, const Roles& roles, int role, const Use& use) {
  for (idx_t b = 0; b < shape.B; ++b) {
    for (idx_t h = 0; h < shape.H; ++h) {
      const idx_t head = b * shape.H + h;
      idx_t global = head * shape.G;
      for (idx_t i = 0; i < shape.T; ++i) {
        const int r = WindowRole(roles, shape, b, i);
        if (r == role) use(b, h, i, head * shape.T + i, global);
        global += r == 2 ? 1 : 0;
      }
    }
  }
}

// What a pass over the rows writes; nothing where it is null. With `dout` it adds to dq, dk and dv.
template <class T>
struct WindowWrites {
  T *out = nullptr, *lse = nullptr;
  const T* dout = nullptr;
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

// One row of weights serves output and gradients. `at`: the row in (B, H, T), `query` in q.
template <class T>
void WindowPassRow(const WindowRow<T>& row, const WindowSpec& spec, const WindowShape& shape,
                   const T* q, const T* k, const T* v, idx_t head, idx_t at, idx_t query,
                   const WindowWrites<T>& w) {
  const idx_t D = shape.D;
  if (w.out != nullptr) {
    WindowMix<T>(row, shape, v, head, w.out + at * D);
    w.lse[at] = row.lse;
  }
  if (w.dout == nullptr) return;
  WindowRowGradients<T>(row, shape, WindowScale<T>(spec, D), q + query * D, k, v, head,
                        w.dout + at * D, w.dq + query * D, w.dk, w.dv);
}

// Rows of local tokens; hidden ones get 0 and -inf.
template <class T>
void WindowBoth(const WindowSpec& spec, const WindowShape& shape, const T* q, const T* k,
                const T* v, const Roles& roles, const WindowWrites<T>& w) {
  ForWindowRows(shape, roles, 1, [&](idx_t b, idx_t h, idx_t i, idx_t at, idx_t) {
    const auto row = WindowWeights<T>(spec, shape, roles, q + at * shape.D, k, b, h, i);
    WindowPassRow<T>(row, spec, shape, q, k, v, at - i, at, at, w);
  });
  if (w.out == nullptr) return;
  ForWindowRows(shape, roles, 0, [&](idx_t, idx_t, idx_t, idx_t at, idx_t) {
    for (idx_t d = 0; d < shape.D; ++d) w.out[at * shape.D + d] = T(0);
    w.lse[at] = -WindowNumber<T>(HUGE_VAL);
  });
}

template <class T>
void WindowForward(const WindowSpec& spec, const WindowShape& shape, const T* q, const T* k,
                   const T* v, const Roles& roles, T* out, T* lse) {
  WindowBoth<T>(spec, shape, q, k, v, roles, {out, lse});
}

// Rows of global tokens, and no others.
template <class T>
void GlobalBoth(const WindowSpec& spec, const WindowShape& shape, const T* qg, const T* kg,
                const T* vg, const Roles& roles, const WindowWrites<T>& w) {
  ForWindowRows(shape, roles, 2, [&](idx_t b, idx_t h, idx_t i, idx_t at, idx_t g) {
    const auto row = WindowWeights<T>(spec, shape, roles, qg + g * shape.D, kg, b, h, i);
    WindowPassRow<T>(row, spec, shape, qg, kg, vg, at - i, at, g, w);
  });
}

template <class T>
void GlobalForward(const WindowSpec& spec, const WindowShape& shape, const T* qg, const T* kg,
                   const T* vg, const Roles& roles, T* out, T* lse) {
  GlobalBoth<T>(spec, shape, qg, kg, vg, roles, {out, lse});
}

template <class T>
void GlobalBackward(const WindowSpec& spec, const WindowShape& shape, const T* qg, const T* kg,
                    const T* vg, const Roles& roles, const T* dout, T* dqg, T* dkg, T* dvg) {
  GlobalBoth<T>(spec, shape, qg, kg, vg, roles, {nullptr, nullptr, dout, dqg, dkg, dvg});
}

// y (B, H, T, D) = x (B, T, C) w^T + b; w (H*D, C), b (H*D).
template <class T>
std::vector<T> ProjectHeads(const WindowShape& shape, idx_t C, const T* x, const T* w, const T* b) {
  std::vector<T> y(static_cast<std::size_t>(shape.B * shape.H * shape.T * shape.D));
  for (std::size_t n = 0; n < y.size(); ++n) {
    const auto i = static_cast<idx_t>(n);
    const idx_t d = i % shape.D, t = i / shape.D % shape.T, h = i / shape.D / shape.T % shape.H;
    const idx_t batch = i / shape.D / shape.T / shape.H, out = h * shape.D + d;
    y[n] = b[out];
    for (idx_t c = 0; c < C; ++c) y[n] += x[(batch * shape.T + t) * C + c] * w[out * C + c];
  }
  return y;
}

// dx += dy w, dw += dy^T x, db += dy.
template <class T>
void ProjectHeadsBackward(const WindowShape& shape, idx_t C, const T* x, const T* w,
                          const std::vector<T>& dy, T* dx, T* dw, T* db) {
  for (std::size_t n = 0; n < dy.size(); ++n) {
    const auto i = static_cast<idx_t>(n);
    const idx_t d = i % shape.D, t = i / shape.D % shape.T, h = i / shape.D / shape.T % shape.H;
    const idx_t batch = i / shape.D / shape.T / shape.H, out = h * shape.D + d;
    db[out] += dy[n];
    for (idx_t c = 0; c < C; ++c) {
      dx[(batch * shape.T + t) * C + c] += dy[n] * w[out * C + c];
      dw[out * C + c] += dy[n] * x[(batch * shape.T + t) * C + c];
    }
  }
}

}  // namespace longspan::ref
