// Shared queries and keys (Reformer's LSH layers) on bf16 inputs, for the tests of kernels: any
// number of times that a query sees a key, in double and as frameworks compute it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "base/bfloat16.h"
#include "longspan/types.h"

namespace longspan::test {

template <class T>
struct SharedParts {
  std::vector<T> out, dqk, dv;  // (heads, T, D)
  std::vector<float> logs{};    // of kernels: log sum exp of each row
};

// One head with loops; `round` is applied to every tensor that one operation hands another.
template <class T, class Round>
class DenseShared {
 public:
  DenseShared(idx_t tokens, idx_t size, const bfloat16* qk, const bfloat16* v, const bfloat16* dout,
              const std::vector<idx_t>& count, const Round& round)
      : n_(tokens), D_(size), count_(count), round_(round) {
    for (idx_t i = 0; i < n_ * D_; ++i) {
      x_.push_back(static_cast<T>(ToFloat(qk[i])));
      v_.push_back(static_cast<T>(ToFloat(v[i])));
      dout_.push_back(static_cast<T>(ToFloat(dout[i])));
    }
    for (idx_t j = 0; j < n_; ++j) {
      rho_.push_back(T(1) / std::sqrt(Dot(x_, j, x_, j) / static_cast<T>(D_) + T(1e-6)));
      for (idx_t d = 0; d < D_; ++d) {
        key_.push_back(round(At(x_, j, d) * rho_.back() / std::sqrt(static_cast<T>(D_))));
      }
    }
    for (auto* matrix : {&weight_, &dscore_}) matrix->resize(static_cast<std::size_t>(n_ * n_));
    for (idx_t i = 0; i < n_; ++i) Weigh(i);
  }

  void Append(SharedParts<T>& y) const {
    for (idx_t i = 0; i < n_; ++i) {
      std::vector<T> dq(static_cast<std::size_t>(D_)), dkey = dq;
      for (idx_t d = 0; d < D_; ++d) {
        T out = 0, dv = 0;
        for (idx_t j = 0; j < n_; ++j) {
          out += Pair(weight_, i, j) * At(v_, j, d);
          dv += Pair(weight_, j, i) * At(dout_, j, d);
          dq[static_cast<std::size_t>(d)] += Pair(dscore_, i, j) * At(key_, j, d);
          dkey[static_cast<std::size_t>(d)] += Pair(dscore_, j, i) * At(x_, j, d);
        }
        y.out.push_back(round_(out));
        y.dv.push_back(round_(dv));
      }
      const T rho = rho_[static_cast<std::size_t>(i)], size = static_cast<T>(D_);
      T along = 0;
      for (idx_t d = 0; d < D_; ++d) {
        along += round_(dkey[static_cast<std::size_t>(d)]) / std::sqrt(size) * At(x_, i, d);
      }
      for (idx_t d = 0; d < D_; ++d) {
        const T g = round_(dkey[static_cast<std::size_t>(d)]) / std::sqrt(size);
        const T through_key = rho * g - At(x_, i, d) * rho * rho * rho * along / size;
        y.dqk.push_back(round_(round_(dq[static_cast<std::size_t>(d)]) + round_(through_key)));
      }
    }
  }

 private:
  T At(const std::vector<T>& a, idx_t i, idx_t d) const {
    return a[static_cast<std::size_t>(i * D_ + d)];
  }
  T Pair(const std::vector<T>& a, idx_t i, idx_t j) const {
    return a[static_cast<std::size_t>(i * n_ + j)];
  }
  T Dot(const std::vector<T>& a, idx_t i, const std::vector<T>& b, idx_t j) const {
    T sum = 0;
    for (idx_t d = 0; d < D_; ++d) sum += At(a, i, d) * At(b, j, d);
    return sum;
  }
  // Row i of the weights, and of the gradients of the scores.
  void Weigh(idx_t i) {
    T* w = weight_.data() + i * n_;
    T* ds = dscore_.data() + i * n_;
    const idx_t* count = count_.data() + i * n_;
    T max = -1e30, sum = 0, delta = 0;
    for (idx_t j = 0; j < n_; ++j) {
      w[j] = round_(Dot(x_, i, key_, j));
      if (j != i && count[j] > 0) max = std::max(max, w[j]);
    }
    const bool lone = max == T(-1e30);
    for (idx_t j = 0; j < n_; ++j) {
      const bool seen = lone ? j == i : j != i && count[j] > 0;
      w[j] = seen ? (lone ? T(1) : static_cast<T>(count[j]) * std::exp(w[j] - max)) : T(0);
      sum += w[j];
    }
    for (idx_t j = 0; j < n_; ++j) {
      w[j] = round_(w[j] / sum);
      ds[j] = round_(Dot(dout_, i, v_, j));
      delta += w[j] * ds[j];
    }
    for (idx_t j = 0; j < n_; ++j) ds[j] = lone ? T(0) : round_(w[j] * (ds[j] - delta));
  }

  idx_t n_, D_;
  const std::vector<idx_t>& count_;
  Round round_;
  std::vector<T> x_, v_, dout_, key_, rho_, weight_, dscore_;
};

}  // namespace longspan::test
