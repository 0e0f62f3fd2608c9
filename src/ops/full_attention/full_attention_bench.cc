// Full attention, H 8, D 64: forward, backward, and both in the shared form. Useful flop: 4 D
// forward and 10 D backward for every query and every key that it sees.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "bench/support/bench.h"
#include "longspan/attention.h"
#include "ops/full_attention/full_attention_ref.h"

namespace longspan {
namespace {

constexpr idx_t kHeads = 8, kHeadSize = 64;
constexpr int kRowsChecked = 12;
constexpr double kMostError = 2e-5;

struct Problem {
  Problem(idx_t tokens, bool causal) : T(tokens), shape{1, kHeads, tokens, kHeadSize} {
    std::uint64_t seed = 1;
    for (auto* a : {&q, &k, &v, &dout, &out, &dq, &dk, &dv}) {
      a->resize(static_cast<std::size_t>(kHeads * T * kHeadSize));
      if (seed <= 4) FillNormal(seed, 1.0f, a->data(), static_cast<idx_t>(a->size()));
      ++seed;
    }
    lse.resize(static_cast<std::size_t>(kHeads * T));
    sum.resize(lse.size());
    spec.causal = causal;
  }
  View<const float, 4> In(const std::vector<float>& a) const { return {a.data(), shape}; }
  View<float, 4> Out(std::vector<float>& a) const { return {a.data(), shape}; }
  View<float, 3> Rows(std::vector<float>& a) const { return {a.data(), {1, kHeads, T}}; }
  AttentionSaved Saved() { return {Out(out), Rows(lse)}; }
  SharedSaved SavedShared() { return {Out(out), Rows(lse), Rows(sum)}; }
  void Forward() { FullForward(bench::SharedContext(), spec, {In(q), In(k), In(v)}, {}, Saved()); }
  void Backward() {
    FullBackward(bench::SharedContext(), spec, {In(q), In(k), In(v)}, {}, Saved(), In(dout),
                 {Out(dq), Out(dk), Out(dv)});
  }
  void SharedForward() {
    FullSharedForward(bench::SharedContext(), spec, {In(q), In(v)}, {}, SavedShared());
  }
  void SharedBackward() {
    FullSharedBackward(bench::SharedContext(), spec, {In(q), In(v)}, {}, SavedShared(), In(dout),
                       {Out(dq), Out(dv)});
  }
  double VisiblePairs() const {
    const auto t = static_cast<double>(T);
    return kHeads * (spec.causal ? t * (t + 1) / 2 : t * t);
  }

  idx_t T;
  std::array<idx_t, 4> shape;
  FullSpec spec;
  std::vector<float> q, k, v, dout, out, dq, dk, dv, lse, sum;
};

// One head in double.
struct Head {
  Head(const Problem& x, idx_t h) {
    const auto part = [&](const std::vector<float>& a) {
      const auto begin = a.begin() + h * x.T * kHeadSize;
      return std::vector<double>(begin, begin + x.T * kHeadSize);
    };
    q = part(x.q);
    k = part(x.k);
    v = part(x.v);
    dout = part(x.dout);
  }
  double Dot(const std::vector<double>& a, idx_t i, const std::vector<double>& b, idx_t j) const {
    double dot = 0.0;
    for (idx_t d = 0; d < kHeadSize; ++d) {
      dot += a[static_cast<std::size_t>(i * kHeadSize + d)] *
             b[static_cast<std::size_t>(j * kHeadSize + d)];
    }
    return dot;
  }
  std::vector<double> q, k, v, dout;
};

std::string Differs(const char* name, const std::vector<float>& got, idx_t row,
                    const std::array<double, kHeadSize>& want) {
  for (idx_t d = 0; d < kHeadSize; ++d) {
    const double error =
        std::abs(static_cast<double>(got[static_cast<std::size_t>(row * kHeadSize + d)]) -
                 want[static_cast<std::size_t>(d)]);
    if (!(error <= kMostError)) {
      return fmt::format("{} of row {}, element {}: error {:.2e}", name, row, d, error);
    }
  }
  return {};
}

// out and dq of a query, from the weights of its row.
std::string CheckQuery(const Problem& x, const Head& head, idx_t h, idx_t t) {
  const ref::FullShape shape{1, 1, x.T, kHeadSize};
  const auto row =
      ref::FullRow<double>(x.spec, false, shape, head.q.data(), head.k.data(), {}, 0, 0, t);
  std::array<double, kHeadSize> out{}, dq{};
  double mean = 0.0;
  std::vector<double> dp;
  for (idx_t j = 0; j < x.T; ++j) {
    dp.push_back(head.Dot(head.dout, t, head.v, j));
    mean += row.p[static_cast<std::size_t>(j)] * dp.back();
  }
  for (idx_t j = 0; j < x.T; ++j) {
    const double p = row.p[static_cast<std::size_t>(j)];
    const double ds = p * (dp[static_cast<std::size_t>(j)] - mean) / std::sqrt(kHeadSize);
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      out[d] += p * head.v[static_cast<std::size_t>(j) * kHeadSize + d];
      dq[d] += ds * head.k[static_cast<std::size_t>(j) * kHeadSize + d];
    }
  }
  const std::string wrong = Differs("out", x.out, h * x.T + t, out);
  return wrong.empty() ? Differs("dq", x.dq, h * x.T + t, dq) : wrong;
}

// dk and dv of a key. The rows' lse and out are the kernel's: CheckQuery looks at those.
std::string CheckKey(const Problem& x, const Head& head, idx_t h, idx_t j) {
  std::array<double, kHeadSize> dk{}, dv{};
  for (idx_t t = x.spec.causal ? j : 0; t < x.T; ++t) {
    const idx_t row = h * x.T + t;
    double mean = 0.0;
    for (idx_t d = 0; d < kHeadSize; ++d) {
      mean += head.dout[static_cast<std::size_t>(t * kHeadSize + d)] *
              static_cast<double>(x.out[static_cast<std::size_t>(row * kHeadSize + d)]);
    }
    const double p = std::exp(head.Dot(head.q, t, head.k, j) / std::sqrt(kHeadSize) -
                              static_cast<double>(x.lse[static_cast<std::size_t>(row)]));
    const double ds = p * (head.Dot(head.dout, t, head.v, j) - mean) / std::sqrt(kHeadSize);
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      dk[d] += ds * head.q[static_cast<std::size_t>(t) * kHeadSize + d];
      dv[d] += p * head.dout[static_cast<std::size_t>(t) * kHeadSize + d];
    }
  }
  const std::string wrong = Differs("dk", x.dk, h * x.T + j, dk);
  return wrong.empty() ? Differs("dv", x.dv, h * x.T + j, dv) : wrong;
}

std::string Check(Problem& x) {
  x.Forward();
  x.Backward();
  Rng rng(7);
  for (int i = 0; i < kRowsChecked; ++i) {
    const idx_t h = rng.Below(kHeads);
    const Head head(x, h);
    for (const std::string& wrong :
         {CheckQuery(x, head, h, rng.Below(x.T)), CheckKey(x, head, h, rng.Below(x.T))}) {
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

// The shared form: whole rows of out, and of d loss / d v by a key's column of weights.
std::string CheckShared(Problem& x) {
  x.SharedForward();
  x.SharedBackward();
  Rng rng(7);
  const ref::FullShape shape{1, 1, x.T, kHeadSize};
  const idx_t h = rng.Below(kHeads);
  const Head head(x, h);
  const auto keys = ref::FullSharedKeys<double>(shape, head.q.data());
  for (int i = 0; i < kRowsChecked; ++i) {
    const idx_t t = rng.Below(x.T), key = rng.Below(x.T);
    const auto row =
        ref::FullRow<double>(x.spec, true, shape, head.q.data(), keys.data(), {}, 0, 0, t);
    std::array<double, kHeadSize> out{}, dv{};
    for (idx_t j = 0; j < x.T; ++j) {
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        out[d] += row.p[static_cast<std::size_t>(j)] *
                  head.v[static_cast<std::size_t>(j) * kHeadSize + d];
      }
    }
    for (idx_t q = x.spec.causal ? key : 0; q < x.T; ++q) {
      const auto at = static_cast<std::size_t>(h * x.T + q);
      const double s = q == key ? static_cast<double>(kSelfScore) : head.Dot(head.q, q, keys, key);
      const double p =
          std::exp(s - static_cast<double>(x.lse[at])) / static_cast<double>(x.sum[at]);
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        dv[d] += p * head.dout[static_cast<std::size_t>(q) * kHeadSize + d];
      }
    }
    for (const std::string& wrong :
         {Differs("out", x.out, h * x.T + t, out), Differs("dv", x.dv, h * x.T + key, dv)}) {
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

void BM_Forward(benchmark::State& state) {
  Problem x(state.range(0), state.range(1) != 0);
  if (!bench::Verify(state, [&] { return Check(x); })) return;
  for (auto _ : state) x.Forward();
  bench::ReportFlops(state, 4.0 * kHeadSize * x.VisiblePairs());
}

void BM_Backward(benchmark::State& state) {
  Problem x(state.range(0), state.range(1) != 0);
  if (!bench::Verify(state, [&] { return Check(x); })) return;
  for (auto _ : state) x.Backward();
  bench::ReportFlops(state, 10.0 * kHeadSize * x.VisiblePairs());
}

void BM_SharedForwardBackward(benchmark::State& state) {
  Problem x(state.range(0), state.range(1) != 0);
  if (!bench::Verify(state, [&] { return CheckShared(x); })) return;
  for (auto _ : state) {
    x.SharedForward();
    x.SharedBackward();
  }
  bench::ReportFlops(state, 14.0 * kHeadSize * x.VisiblePairs());
}

void Shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "causal"})->ArgsProduct({{1024, 4096}, {0, 1}})->UseRealTime();
}
BENCHMARK(BM_Forward)->Apply(Shapes);
BENCHMARK(BM_Backward)->Apply(Shapes);
BENCHMARK(BM_SharedForwardBackward)->Apply(Shapes);

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
