// Attention on bf16 inputs for the tests of kernels: any relation of queries and keys, in double
// and as frameworks compute it, with every tensor between two operations rounded to bf16.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bfloat16.h"
#include "base/isa.h"
#include "longspan/attention.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"
#include "tests/support/runners.h"

namespace longspan::test {

struct Bf16Result {
  std::vector<float> out, dq, dk, dv;  // (heads, T, D)
};

// (B, H) heads of T tokens; head b*H + h. A query that sees nothing gives 0.
struct Bf16Problem {
  idx_t B = 1, H = 1, T = 0, D = 0;
  std::function<bool(idx_t head, idx_t query, idx_t key)> visible;
  std::uint64_t seed = 1;

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(D)); }
  idx_t size() const { return B * H * T * D; }
  std::array<idx_t, 4> extents() const { return {B, H, T, D}; }
  std::string Name() const {
    return "B" + std::to_string(B) + " H" + std::to_string(H) + " T" + std::to_string(T) + " D" +
           std::to_string(D);
  }
};

// q, k, v and dout as bf16, and what the kernels write.
struct Bf16Tensors {
  explicit Bf16Tensors(const Bf16Problem& p) : shape(p.extents()) {
    std::uint64_t seed = p.seed;
    for (auto* tensor : {&q, &k, &v, &dout}) {
      for (const float x : RandomNormal(seed += 1000, p.size())) {
        tensor->push_back(ToBfloat16(x));
      }
    }
    out.resize(q.size());
    lse.resize(q.size() / static_cast<std::size_t>(p.D));
    for (auto* gradient : {&dq, &dk, &dv}) gradient->resize(q.size());
  }
  Bf16Qkv Qkv() const { return {In(q), In(k), In(v)}; }
  Bf16AttentionSaved Saved() {
    return {{out.data(), shape}, {lse.data(), {shape[0], shape[1], shape[2]}}};
  }
  View<const bfloat16, 4> Dout() const { return In(dout); }
  DQkv Gradients() { return {{dq.data(), shape}, {dk.data(), shape}, {dv.data(), shape}}; }
  Bf16Result Result() const {
    Bf16Result result{{}, dq, dk, dv};
    for (const bfloat16 x : out) result.out.push_back(ToFloat(x));
    return result;
  }
  View<const bfloat16, 4> In(const std::vector<bfloat16>& x) const { return {x.data(), shape}; }

  std::array<idx_t, 4> shape;
  std::vector<bfloat16> q, k, v, dout, out;
  std::vector<float> lse, dq, dk, dv;
};

// The whole of it with loops; `round` is applied to every tensor that one operation hands another.
template <class T, class Round>
std::vector<std::vector<T>> DenseAttention(const Bf16Problem& p, const Bf16Tensors& x,
                                           const Round& round) {
  const auto n = static_cast<std::size_t>(p.T);
  std::vector<std::vector<T>> y(4, std::vector<T>(x.q.size()));
  const auto at = [](bfloat16 value) { return static_cast<T>(ToFloat(value)); };
  for (idx_t head = 0; head < p.B * p.H; ++head) {
    const idx_t base = head * p.T * p.D;
    const auto dot = [&](const std::vector<bfloat16>& a, idx_t i, const std::vector<bfloat16>& b,
                         idx_t j) {
      T sum = 0;
      for (idx_t d = 0; d < p.D; ++d) {
        sum += at(a[static_cast<std::size_t>(base + i * p.D + d)]) *
               at(b[static_cast<std::size_t>(base + j * p.D + d)]);
      }
      return sum;
    };
    std::vector<std::vector<T>> weight(n, std::vector<T>(n)), dscore = weight;
    for (idx_t i = 0; i < p.T; ++i) {
      std::vector<T>& w = weight[static_cast<std::size_t>(i)];
      std::vector<T>& ds = dscore[static_cast<std::size_t>(i)];
      T max = -1e30, sum = 0, delta = 0;
      for (idx_t j = 0; j < p.T; ++j) {
        T& score = w[static_cast<std::size_t>(j)];
        score = round(dot(x.q, i, x.k, j) * static_cast<T>(p.scale()));
        if (p.visible(head, i, j)) max = std::max(max, score);
      }
      for (idx_t j = 0; j < p.T; ++j) {
        T& score = w[static_cast<std::size_t>(j)];
        score = p.visible(head, i, j) ? std::exp(score - max) : T(0);
        sum += score;
      }
      if (sum == T(0)) continue;
      for (T& value : w) value = round(value / sum);
      for (idx_t j = 0; j < p.T; ++j) {
        ds[static_cast<std::size_t>(j)] = round(dot(x.dout, i, x.v, j));
        delta += w[static_cast<std::size_t>(j)] * ds[static_cast<std::size_t>(j)];
      }
      for (std::size_t j = 0; j < n; ++j) {
        ds[j] = round(w[j] * (ds[j] - delta) * static_cast<T>(p.scale()));
      }
    }
    for (idx_t i = 0; i < p.T; ++i) {
      for (idx_t d = 0; d < p.D; ++d) {
        T out = 0, dq = 0, dk = 0, dv = 0;
        for (idx_t j = 0; j < p.T; ++j) {
          const auto si = static_cast<std::size_t>(i), sj = static_cast<std::size_t>(j);
          const auto other = static_cast<std::size_t>(base + j * p.D + d);
          out += weight[si][sj] * at(x.v[other]);
          dq += dscore[si][sj] * at(x.k[other]);
          dk += dscore[sj][si] * at(x.q[other]);
          dv += weight[sj][si] * at(x.dout[other]);
        }
        const auto to = static_cast<std::size_t>(base + i * p.D + d);
        y[0][to] = round(out);
        y[1][to] = round(dq);
        y[2][to] = round(dk);
        y[3][to] = round(dv);
      }
    }
  }
  return y;
}

// A problem, who sees whom in it, and its tensors, which need not be those of its seed.
inline Key Bf16Key(std::string_view function, const Bf16Problem& p, const Bf16Tensors& x) {
  Key key(function);
  for (const idx_t n : p.extents()) key.Add(n);
  std::vector<std::uint8_t> visible;
  for (idx_t head = 0; head < p.B * p.H; ++head) {
    for (idx_t i = 0; i < p.T; ++i) {
      for (idx_t j = 0; j < p.T; ++j) visible.push_back(p.visible(head, i, j) ? 1 : 0);
    }
  }
  key.Add(visible);
  for (const auto* tensor : {&x.q, &x.k, &x.v, &x.dout}) {
    std::vector<std::uint16_t> bits;
    for (const bfloat16 value : *tensor) bits.push_back(value.bits);
    key.Add(bits);
  }
  return key;
}

// DenseAttention in double.
inline std::vector<std::vector<double>> Bf16Oracle(const Bf16Problem& p, const Bf16Tensors& x) {
  return RememberLists(Bf16Key("bf16", p, x),
                       [&] { return DenseAttention<double>(p, x, [](double v) { return v; }); });
}

// FlashAttention's rule: twice the error (gradients: three times) of attention in bf16 as a
// framework writes it, both against double, on these very tensors.
inline void RaiseBf16Tolerance(const Bf16Problem& p, const Bf16Tensors& x,
                               std::vector<Tolerance>* most) {
  const auto naive = DenseAttention<float>(p, x, [](float v) { return ToFloat(ToBfloat16(v)); });
  const auto oracle = Bf16Oracle(p, x);
  for (std::size_t part = 0; part < most->size(); ++part) {
    RaiseTolerance(naive[part], oracle[part], part == 0 ? 2 : 3, &(*most)[part]);
  }
}

// The largest over a few inputs where those are small.
inline std::vector<Tolerance> Bf16Tolerance(Bf16Problem p) {
  return RememberTolerances(Bf16Key("bf16 tolerance", p, Bf16Tensors(p)), [&] {
    std::vector<Tolerance> most(4);
    for (int i = 0; i < (p.size() > 5000 ? 1 : (p.size() > 500 ? 6 : 40)); ++i, ++p.seed) {
      RaiseBf16Tolerance(p, Bf16Tensors(p), &most);
    }
    return most;
  });
}

inline void ExpectBf16(const Bf16Result& y, const std::vector<std::vector<double>>& oracle,
                       const std::vector<Tolerance>& tolerance) {
  const char* names[] = {"out", "dq", "dk", "dv"};
  const std::vector<float>* parts[] = {&y.out, &y.dq, &y.dk, &y.dv};
  for (std::size_t part = 0; part < tolerance.size(); ++part) {
    // Gradients of a query with one or two keys may be rounding alone: of dp, and of out in delta.
    constexpr double kSaysNothing = 0.3, kNoise = 0.1;
    constexpr std::size_t kFewElements = 50;
    if (tolerance[part].max_abs > 0.0 && tolerance[part].rel_l2 < kSaysNothing &&
        oracle[part].size() > kFewElements) {
      const auto d = Compare(std::span<const float>(*parts[part]), oracle[part], tolerance[part]);
      EXPECT_TRUE(d.ok) << names[part] << ": " << d.reason;
      continue;
    }
    for (std::size_t i = 0; i < oracle[part].size(); ++i) {
      ASSERT_NEAR(static_cast<double>((*parts[part])[i]), oracle[part][i], kNoise) << names[part];
    }
  }
}

// The paths of bf16 products that this process can take, one after another; the tile unit's twin
// always.
template <class Body>
void ForEachBf16Path(const Body& body) {
  const std::optional<Bf16Path> before = ForcedBf16Path();
  for (const Bf16Path path :
       {Bf16Path::kWiden, Bf16Path::kPairs, Bf16Path::kTiles, Bf16Path::kTwin}) {
    if (path == Bf16Path::kPairs && ActiveIsa() < Isa::kAvx512Bf16) continue;
    if (path == Bf16Path::kTiles && (ActiveIsa() < Isa::kAmx || !PermitTiles())) continue;
    // Below AVX2 the twin has one form, plain C++ (ops/amx_attention/amx_attention.cc).
    if (path == Bf16Path::kTwin && ActiveIsa() == Isa::kSse4) continue;
    SCOPED_TRACE(std::string(Bf16PathName(path)));
    ForceBf16Path(path);
    body();
  }
  ForceBf16Path(before);
}

// run(context, tensors): the kernel's forward and backward.
template <class Run>
void CheckBf16(const Bf16Problem& p, const Run& run) {
  SCOPED_TRACE(p.Name());
  const auto tolerance = Bf16Tolerance(p);
  const auto oracle = Bf16Oracle(p, Bf16Tensors(p));
  ForEachBf16Path([&] {
    Bf16Tensors x(p);
    Context context(1);
    run(context, x);
    ExpectBf16(x.Result(), oracle, tolerance);
    for (const int threads : {2, 3, 7, 8}) {
      Bf16Tensors other(p);
      Context more(threads);
      run(more, other);
      EXPECT_SAME_BITS(other.Result().out, x.Result().out);
      for (auto part : {&Bf16Result::dq, &Bf16Result::dk, &Bf16Result::dv}) {
        EXPECT_SAME_BITS(other.Result().*part, x.Result().*part);
      }
    }
  });
}

}  // namespace longspan::test
