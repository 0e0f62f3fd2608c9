// LSH attention in plain loops on float, double or std::complex<double>: what the kernels are
// compared with. Shares no code with them: rounds are computed one by one and combined by their
// logsumexp weights, as the paper has it, where the kernels run one softmax over the union.
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

// Contiguous (B, H, T, D) tensors; order (B, H, R, T) with the R that run; mask (B, T) or empty.
struct LshShape {
  idx_t B = 1, H = 1, T = 1, D = 1;
};

// One entry of a sorted window: a key, and the slot that numbers its dropout.
struct LshEntry {
  idx_t key = 0, slot = 0;
  bool visible = false, itself = false;
};

inline idx_t LshRounds(const LshSpec& spec, idx_t T) { return T > spec.chunk ? spec.rounds : 1; }

// Every existing entry that the i-th token of round r sees. order: (R, T) of the head.
inline std::vector<LshEntry> LshWindow(const LshSpec& spec, const LshShape& shape,
                                       const std::int32_t* order,
                                       const std::vector<std::uint8_t>& mask, idx_t b, idx_t r,
                                       idx_t i) {
  std::vector<LshEntry> window;
  const idx_t t = order[r * shape.T + i];
  const auto add = [&](idx_t key, idx_t slot) {
    const bool shown = mask.empty() || mask[static_cast<std::size_t>(b * shape.T + key)] != 0;
    window.push_back({key, slot, shown && (!spec.causal || key <= t), key == t});
  };
  if (shape.T <= spec.chunk) {
    for (idx_t key = 0; key < shape.T; ++key) add(key, key);
    return window;
  }
  const idx_t n = (shape.T + spec.chunk - 1) / spec.chunk, circle = n * spec.rounds;
  const idx_t c = r * n + i / spec.chunk;
  for (idx_t off = -spec.before; off <= spec.after; ++off) {
    const bool turned = off >= circle || -off >= circle;
    const idx_t p = turned ? c : (c + off + circle) % circle;
    for (idx_t j = 0; j < spec.chunk; ++j) {
      const idx_t place = p % n * spec.chunk + j;
      if (place >= shape.T) continue;
      add(order[p / n * shape.T + place], (off + spec.before) * spec.chunk + j);
    }
  }
  return window;
}

// A real number in the type of T.
template <class T>
T Constant(double x) {
  return T(static_cast<std::conditional_t<std::is_same_v<T, float>, float, double>>(x));
}

inline double RealOf(double x) { return x; }
inline double RealOf(float x) { return static_cast<double>(x); }
inline double RealOf(const std::complex<double>& x) { return x.real(); }

// key (D) = x / sqrt(mean(x^2) + 1e-6) / sqrt(D)
template <class T>
std::vector<T> LshKey(const T* x, idx_t D) {
  T squares(0);
  for (idx_t d = 0; d < D; ++d) squares += x[d] * x[d];
  const T rho = T(1) / std::sqrt(squares / Constant<T>(static_cast<double>(D)) + Constant<T>(1e-6));
  std::vector<T> key;
  for (idx_t d = 0; d < D; ++d) {
    key.push_back(x[d] * rho / std::sqrt(Constant<T>(static_cast<double>(D))));
  }
  return key;
}

// The keys of all tokens (B, H, T, D).
template <class T>
std::vector<T> LshKeys(const LshShape& shape, const T* x) {
  std::vector<T> keys;
  for (idx_t i = 0; i < shape.B * shape.H * shape.T; ++i) {
    const std::vector<T> key = LshKey(x + i * shape.D, shape.D);
    keys.insert(keys.end(), key.begin(), key.end());
  }
  return keys;
}

// One token in one round: weights e = exp(s - max) before normalisation, their sum.
template <class T>
struct LshRow {
  std::vector<LshEntry> window;
  std::vector<T> e, factor;
  double max = -1e300;
  T sum = T(0);
  std::vector<T> out;  // (D): sum f e v / sum e
};

template <class T>
LshRow<T> LshRoundRow(const LshSpec& spec, const LshShape& shape, const T* x, const T* keys,
                      const T* v, const std::int32_t* order, const std::vector<std::uint8_t>& mask,
                      idx_t b, idx_t h, idx_t r, idx_t i) {
  const idx_t D = shape.D, head = (b * shape.H + h) * shape.T, t = order[r * shape.T + i];
  const Dropout dropout{spec.dropout.p, spec.dropout.key};
  const idx_t slots = spec.chunk * (1 + spec.before + spec.after);
  const idx_t query = ((b * shape.H + h) * LshRounds(spec, shape.T) + r) * shape.T + t;
  LshRow<T> row;
  row.window = LshWindow(spec, shape, order, mask, b, r, i);
  std::vector<T> score;
  for (const LshEntry& entry : row.window) {
    const T* key = keys + (head + entry.key) * D;
    T s(0);
    for (idx_t d = 0; d < D; ++d) s += x[(head + t) * D + d] * key[d];
    if (entry.itself) s = Constant<T>(-1e5);
    score.push_back(s);
    if (entry.visible || entry.itself) row.max = std::max(row.max, RealOf(s));
    row.factor.push_back(dropout.active() ? T(dropout.Factor(query * slots + entry.slot)) : T(1));
  }
  row.out.assign(static_cast<std::size_t>(D), T(0));
  for (std::size_t j = 0; j < score.size(); ++j) {
    const bool counts = row.window[j].visible || row.window[j].itself;
    row.e.push_back(counts ? std::exp(score[j] - Constant<T>(row.max)) : T(0));
    row.sum += row.e[j];
    for (idx_t d = 0; d < D; ++d) {
      row.out[static_cast<std::size_t>(d)] +=
          row.e[j] * row.factor[j] * v[(head + row.window[j].key) * D + d];
    }
  }
  for (T& value : row.out) value /= row.sum;
  return row;
}

// Token t of a head in all its rounds, and how they are combined: weight w_r = exp(lse_r - lse).
template <class T>
struct LshToken {
  std::vector<LshRow<T>> rounds;
  std::vector<T> weight;
  double max = -1e300;
  T sum = T(0);
};

// Where each token stands in each round: (R, T), of one head's order.
inline std::vector<idx_t> LshPlaces(const std::int32_t* order, idx_t rounds, idx_t T) {
  std::vector<idx_t> places(static_cast<std::size_t>(rounds * T));
  for (idx_t i = 0; i < rounds * T; ++i) {
    places[static_cast<std::size_t>(i / T * T + order[i])] = i % T;
  }
  return places;
}

template <class T>
LshToken<T> LshCombine(const LshSpec& spec, const LshShape& shape, const T* x, const T* keys,
                       const T* v, const std::int32_t* order, const std::vector<idx_t>& places,
                       const std::vector<std::uint8_t>& mask, idx_t b, idx_t h, idx_t t) {
  LshToken<T> token;
  for (idx_t r = 0; r < LshRounds(spec, shape.T); ++r) {
    const idx_t i = places[static_cast<std::size_t>(r * shape.T + t)];
    token.rounds.push_back(LshRoundRow(spec, shape, x, keys, v, order, mask, b, h, r, i));
    token.max = std::max(token.max, token.rounds.back().max);
  }
  for (const LshRow<T>& row : token.rounds) {
    token.weight.push_back(row.sum * std::exp(Constant<T>(row.max - token.max)));
    token.sum += token.weight.back();
  }
  for (T& w : token.weight) w /= token.sum;
  return token;
}

// dx += gradient of LshKey.
template <class T>
void LshKeyBackward(const T* x, const T* dkey, idx_t D, T* dx) {
  const T size = Constant<T>(static_cast<double>(D));
  T squares(0), along(0);
  for (idx_t d = 0; d < D; ++d) {
    squares += x[d] * x[d];
    along += dkey[d] / std::sqrt(size) * x[d];
  }
  const T rho = T(1) / std::sqrt(squares / size + Constant<T>(1e-6));
  for (idx_t d = 0; d < D; ++d) {
    dx[d] += rho * dkey[d] / std::sqrt(size) - x[d] * rho * rho * rho * along / size;
  }
}

// Calls visit(key, weight, ds) for every entry that token t sees: its weight in out after dropout,
// and the gradient of its score for g = d loss / d out (D). v (T, D) of the head. Each round's
// gradient has two parts: through its output, and through its weight among the rounds.
template <class T, class Visit>
void LshVisitScores(const LshToken<T>& token, const T* g, const T* v, idx_t D, const Visit& visit) {
  std::vector<T> dweight;
  T mean(0);
  for (std::size_t r = 0; r < token.rounds.size(); ++r) {
    T dot(0);
    for (idx_t d = 0; d < D; ++d) dot += g[d] * token.rounds[r].out[static_cast<std::size_t>(d)];
    dweight.push_back(dot);
    mean += token.weight[r] * dot;
  }
  for (std::size_t r = 0; r < token.rounds.size(); ++r) {
    const LshRow<T>& row = token.rounds[r];
    const T w = token.weight[r], dlse = w * (dweight[r] - mean);
    for (std::size_t j = 0; j < row.window.size(); ++j) {
      const LshEntry& entry = row.window[j];
      const T p = row.e[j] / row.sum;
      T dp(0);
      for (idx_t d = 0; d < D; ++d) dp += row.factor[j] * w * g[d] * v[entry.key * D + d];
      const bool constant = entry.itself || !entry.visible;
      visit(entry.key, p * row.factor[j] * w, constant ? T(0) : p * (dp - w * dweight[r] + dlse));
    }
  }
}

// What a pass over the tokens writes; nothing where it is null. With `dout` it adds to dx and dv.
template <class T>
struct LshWrites {
  T *out = nullptr, *max = nullptr, *sum = nullptr;
  const T* dout = nullptr;
  T *dx = nullptr, *dv = nullptr;
};

// Token `at` of (B, H, T): what it gives.
template <class T>
void LshTokenOutput(const LshToken<T>& token, idx_t D, idx_t at, const LshWrites<T>& w) {
  w.max[at] = Constant<T>(token.max);
  w.sum[at] = token.sum;
  for (idx_t d = 0; d < D; ++d) {
    T total(0);
    for (std::size_t r = 0; r < token.rounds.size(); ++r) {
      total += token.weight[r] * token.rounds[r].out[static_cast<std::size_t>(d)];
    }
    w.out[at * D + d] = total;
  }
}

// One combination of a token's rounds serves output and gradients.
template <class T>
void LshBoth(const LshSpec& spec, const LshShape& shape, const T* x, const T* v,
             const std::vector<std::int32_t>& order, const std::vector<std::uint8_t>& mask,
             const LshWrites<T>& w) {
  const idx_t D = shape.D, R = LshRounds(spec, shape.T);
  const std::vector<T> keys = LshKeys(shape, x);
  std::vector<T> dkeys(keys.size(), T(0));
  for (idx_t b = 0; b < shape.B; ++b) {
    for (idx_t h = 0; h < shape.H; ++h) {
      const idx_t head = (b * shape.H + h) * shape.T;
      const std::int32_t* sorted = order.data() + head * R;
      const std::vector<idx_t> places = LshPlaces(sorted, R, shape.T);
      for (idx_t t = 0; t < shape.T; ++t) {
        const auto token =
            LshCombine(spec, shape, x, keys.data(), v, sorted, places, mask, b, h, t);
        if (w.out != nullptr) LshTokenOutput(token, D, head + t, w);
        if (w.dout == nullptr) continue;
        const T* g = w.dout + (head + t) * D;
        LshVisitScores(token, g, v + head * D, D, [&](idx_t key, const T& weight, const T& ds) {
          const idx_t k = (head + key) * D;
          for (idx_t d = 0; d < D; ++d) {
            w.dv[k + d] += weight * g[d];
            w.dx[(head + t) * D + d] += ds * keys[static_cast<std::size_t>(k + d)];
            dkeys[static_cast<std::size_t>(k + d)] += ds * x[(head + t) * D + d];
          }
        });
      }
    }
  }
  for (idx_t i = 0; w.dout != nullptr && i < shape.B * shape.H * shape.T; ++i) {
    LshKeyBackward(x + i * D, dkeys.data() + i * D, D, w.dx + i * D);
  }
}

template <class T>
void LshForward(const LshSpec& spec, const LshShape& shape, const T* x, const T* v,
                const std::vector<std::int32_t>& order, const std::vector<std::uint8_t>& mask,
                T* out, T* max, T* sum) {
  LshBoth<T>(spec, shape, x, v, order, mask, {out, max, sum});
}

}  // namespace longspan::ref
