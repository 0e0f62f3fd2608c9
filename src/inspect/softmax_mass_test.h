// The softmax mass of a row and who sees whom, by plain loops in double: what the tests compare
// with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <set>
#include <vector>

#include "longspan/attention.h"

namespace longspan {

// fp32 scores against double: shares differ by about |score| roundings.
inline constexpr double kShare = 2e-5;

// Who sees whom by the formula of the mechanism's README: the distinct keys of token t, without
// itself and, when causal, later ones.
inline std::set<idx_t> PlainSeen(const LshSpec& spec, const std::vector<std::uint16_t>& buckets,
                                 idx_t T, idx_t t) {
  std::set<idx_t> seen;
  const auto take = [&](idx_t j) {
    if (j != t && !(spec.causal && j > t)) seen.insert(j);
  };
  if (T <= spec.chunk) {
    for (idx_t j = 0; j < T; ++j) take(j);
    return seen;
  }
  const idx_t n = (T + spec.chunk - 1) / spec.chunk, circle = n * spec.rounds;
  std::vector<std::vector<idx_t>> chunks(static_cast<std::size_t>(circle));
  std::vector<idx_t> own;
  for (idx_t r = 0; r < spec.rounds; ++r) {
    std::vector<idx_t> order(static_cast<std::size_t>(T));
    std::iota(order.begin(), order.end(), 0);
    const auto bucket = [&](idx_t j) { return buckets[static_cast<std::size_t>(r * T + j)]; };
    std::stable_sort(order.begin(), order.end(),
                     [&](idx_t a, idx_t b) { return bucket(a) < bucket(b); });
    for (idx_t i = 0; i < T; ++i) {
      const idx_t token = order[static_cast<std::size_t>(i)], c = r * n + i / spec.chunk;
      chunks[static_cast<std::size_t>(c)].push_back(token);
      if (token == t) own.push_back(c);
    }
  }
  for (const idx_t c : own) {
    for (idx_t off = -spec.before; off <= spec.after; ++off) {
      const idx_t at = std::abs(off) >= circle ? c : (c + off + circle) % circle;
      for (const idx_t j : chunks[static_cast<std::size_t>(at)]) take(j);
    }
  }
  return seen;
}

// The dense softmax (T) of row t of x (T, D), in double.
inline std::vector<double> PlainSoftmax(const std::vector<double>& x, idx_t T, idx_t D, idx_t t,
                                        bool causal) {
  std::vector<double> p(static_cast<std::size_t>(T), 0.0);
  const auto at = [&](idx_t j, idx_t d) { return x[static_cast<std::size_t>(j * D + d)]; };
  double sum = 0.0, max = -INFINITY;
  for (const bool weigh : {false, true}) {
    for (idx_t j = 0; j < T; ++j) {
      if (j == t || (causal && j > t)) continue;
      double dot = 0.0, squares = 0.0;
      for (idx_t d = 0; d < D; ++d) {
        dot += at(t, d) * at(j, d);
        squares += at(j, d) * at(j, d);
      }
      const auto size = static_cast<double>(D);
      const double score = dot / std::sqrt(squares / size + 1e-6) / std::sqrt(size);
      if (!weigh) max = std::max(max, score);
      if (weigh) sum += p[static_cast<std::size_t>(j)] = std::exp(score - max);
    }
  }
  for (double& weight : p) weight /= sum;
  return p;
}

inline double PlainHeaviest(std::vector<double> p, std::size_t keys) {
  std::sort(p.begin(), p.end(), std::greater<>());
  p.resize(std::min(p.size(), keys));
  return std::accumulate(p.begin(), p.end(), 0.0);
}

// Nearest first; of two at one distance the earlier one, whichever way rounding goes.
inline double PlainNearest(const std::vector<double>& p, idx_t t, idx_t end, idx_t keys) {
  std::vector<idx_t> others;
  for (idx_t j = 0; j < end; ++j) {
    if (j != t) others.push_back(j);
  }
  std::stable_sort(others.begin(), others.end(),
                   [&](idx_t a, idx_t b) { return std::abs(a - t) < std::abs(b - t); });
  double sum = 0.0;
  for (idx_t i = 0; i < keys; ++i) {
    sum += p[static_cast<std::size_t>(others[static_cast<std::size_t>(i)])];
  }
  return sum;
}

inline double PlainMass(const std::vector<double>& p, const std::set<idx_t>& keys) {
  double sum = 0.0;
  for (const idx_t j : keys) sum += p[static_cast<std::size_t>(j)];
  return sum;
}

}  // namespace longspan
