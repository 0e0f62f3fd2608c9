// Window attention, H 12, D 64, w tokens to each side, the first G tokens global. Useful flop: 4 D
// forward and 10 D backward for every local query and every key that it sees.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "bench/support/bench.h"
#include "longspan/attention.h"
#include "ops/window_attention/window_attention_ref.h"

namespace longspan {
namespace {

constexpr idx_t kHeads = 12, kHeadSize = 64, kChannels = kHeads * kHeadSize;
constexpr int kRowsChecked = 6;
constexpr double kMostError = 2e-5;

struct Problem {
  Problem(idx_t tokens, idx_t width, idx_t globals)
      : T(tokens),
        G(globals),
        shape{1, kHeads, tokens, kHeadSize},
        roles(static_cast<std::size_t>(tokens), kLocalToken) {
    std::fill_n(roles.begin(), G, kGlobalToken);
    spec.left = spec.right = width;
    std::uint64_t seed = 1;
    for (auto* a : {&q, &k, &v, &dout, &out, &dq, &dk, &dv}) {
      a->resize(static_cast<std::size_t>(kHeads * T * kHeadSize));
      if (seed <= 4) FillNormal(seed, 1.0f, a->data(), static_cast<idx_t>(a->size()));
      ++seed;
    }
    lse.resize(static_cast<std::size_t>(kHeads * T));
  }
  View<const float, 4> In(const std::vector<float>& a) const { return {a.data(), shape}; }
  View<float, 4> Out(std::vector<float>& a) const { return {a.data(), shape}; }
  AttentionSaved Saved() { return {Out(out), {lse.data(), {1, kHeads, T}}}; }
  TokenRoles Roles() const { return {roles.data(), {1, T}}; }
  Qkv Inputs() const { return {In(q), In(k), In(v)}; }
  void Forward() { WindowForward(bench::SharedContext(), spec, Inputs(), Roles(), Saved()); }
  void Backward() {
    WindowBackward(bench::SharedContext(), spec, Inputs(), Roles(), Saved(), In(dout),
                   {Out(dq), Out(dk), Out(dv)});
  }
  double VisiblePairs() const {
    double pairs = 0.0;
    for (idx_t t = G; t < T; ++t) {
      const idx_t low = std::max(G, t - spec.left), high = std::min(T - 1, t + spec.right);
      pairs += static_cast<double>(high - low + 1 + G);
    }
    return kHeads * pairs;
  }

  idx_t T, G;
  std::array<idx_t, 4> shape;
  ref::Roles roles;
  WindowSpec spec;
  std::vector<float> q, k, v, dout, out, dq, dk, dv, lse;
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
  static double Dot(const std::vector<double>& a, idx_t i, const std::vector<double>& b, idx_t j) {
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
                    const std::vector<double>& want) {
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

// out and dq of a local query, from the weights of its row.
std::string CheckQuery(const Problem& x, const Head& head, idx_t h, idx_t t) {
  const ref::WindowShape shape{1, 1, x.T, kHeadSize, x.G};
  const auto row = ref::WindowWeights<double>(x.spec, shape, x.roles, head.q.data() + t * kHeadSize,
                                              head.k.data(), 0, 0, t);
  std::vector<double> out(kHeadSize), dq(kHeadSize), dk(head.k.size()), dv(head.k.size());
  ref::WindowMix<double>(row, shape, head.v.data(), 0, out.data());
  ref::WindowRowGradients<double>(row, shape, ref::WindowScale<double>(x.spec, kHeadSize),
                                  head.q.data() + t * kHeadSize, head.k.data(), head.v.data(), 0,
                                  head.dout.data() + t * kHeadSize, dq.data(), dk.data(),
                                  dv.data());
  const std::string wrong = Differs("out", x.out, h * x.T + t, out);
  return wrong.empty() ? Differs("dq", x.dq, h * x.T + t, dq) : wrong;
}

// dk and dv of a key. The rows' lse and out are the kernel's: CheckQuery looks at those.
std::string CheckKey(const Problem& x, const Head& head, idx_t h, idx_t j) {
  const ref::WindowShape shape{1, 1, x.T, kHeadSize, x.G};
  std::vector<double> dk(kHeadSize), dv(kHeadSize);
  for (idx_t t = x.G; t < x.T; ++t) {
    if (!ref::WindowSees(x.spec, shape, x.roles, 0, 0, t, j)) continue;
    const idx_t row = h * x.T + t;
    double mean = 0.0;
    for (idx_t d = 0; d < kHeadSize; ++d) {
      mean += head.dout[static_cast<std::size_t>(t * kHeadSize + d)] *
              static_cast<double>(x.out[static_cast<std::size_t>(row * kHeadSize + d)]);
    }
    const double p = std::exp(Head::Dot(head.q, t, head.k, j) / std::sqrt(kHeadSize) -
                              static_cast<double>(x.lse[static_cast<std::size_t>(row)]));
    const double ds = p * (Head::Dot(head.dout, t, head.v, j) - mean) / std::sqrt(kHeadSize);
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
    const idx_t key = i == 0 ? 0 : rng.Below(x.T);
    for (const std::string& wrong :
         {CheckQuery(x, head, h, x.G + rng.Below(x.T - x.G)), CheckKey(x, head, h, key)}) {
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

void BM_Forward(benchmark::State& state) {
  Problem x(state.range(0), state.range(1), state.range(2));
  if (!bench::Verify(state, [&] { return Check(x); })) return;
  for (auto _ : state) x.Forward();
  bench::ReportFlops(state, 4.0 * kHeadSize * x.VisiblePairs());
}

void BM_ForwardBackward(benchmark::State& state) {
  Problem x(state.range(0), state.range(1), state.range(2));
  if (!bench::Verify(state, [&] { return Check(x); })) return;
  for (auto _ : state) {
    x.Forward();
    x.Backward();
  }
  bench::ReportFlops(state, 14.0 * kHeadSize * x.VisiblePairs());
}

// ---- rows of global tokens ----------------------------------------------------------------------

// The first G tokens are global; x, the weights and what they project to.
struct GlobalProblem {
  GlobalProblem(idx_t tokens, idx_t globals)
      : T(tokens),
        G(globals),
        shape{1, kHeads, tokens, kHeadSize},
        roles(static_cast<std::size_t>(tokens), kLocalToken) {
    std::fill_n(roles.begin(), G, kGlobalToken);
    std::uint64_t seed = 1;
    const auto fill = [&](std::vector<float>& a, idx_t size, float stddev) {
      a.resize(static_cast<std::size_t>(size));
      FillNormal(seed++, stddev, a.data(), size);
    };
    const float narrow = 1.0f / std::sqrt(static_cast<float>(kChannels));
    fill(x, T * kChannels, 1.0f);
    fill(wk, kChannels * kChannels, narrow);
    fill(wv, kChannels * kChannels, narrow);
    fill(qg, G * kChannels, 1.0f);
    fill(dout, T * kChannels, 1.0f);
    for (auto* a : {&kg, &vg, &out, &dkg, &dvg, &dx}) a->resize(x.size());
    dwk.resize(wk.size());
    dwv.resize(wk.size());
    dqg.resize(qg.size());
    lse.resize(static_cast<std::size_t>(kHeads * T));
  }
  View<const float, 4> In(const std::vector<float>& a) const { return {a.data(), shape}; }
  View<float, 4> Out(std::vector<float>& a) const { return {a.data(), shape}; }
  View<const float, 2> Weight(const std::vector<float>& w) const {
    return {w.data(), {kChannels, kChannels}};
  }
  View<const float, 4> Qg() const { return {qg.data(), {1, kHeads, G, kHeadSize}}; }
  View<float, 4> Dqg() { return {dqg.data(), {1, kHeads, G, kHeadSize}}; }
  AttentionSaved Saved() { return {Out(out), {lse.data(), {1, kHeads, T}}}; }
  TokenRoles Roles() const { return {roles.data(), {1, T}}; }
  GlobalProjection Projection() const {
    return {{x.data(), {1, T, kChannels}}, Qg(), Weight(wk), Weight(wv), {}, {}};
  }
  void Forward() {
    GlobalForward(bench::SharedContext(), {}, {Qg(), In(kg), In(vg)}, Roles(), Saved());
  }
  void Backward() {
    GlobalBackward(bench::SharedContext(), {}, {Qg(), In(kg), In(vg)}, Roles(), Saved(), In(dout),
                   {Dqg(), Out(dkg), Out(dvg)});
  }
  void ReassociatedForward() {
    GlobalReassociatedForward(bench::SharedContext(), {}, Projection(), Roles(), Saved());
  }
  void ReassociatedBackward() {
    GlobalReassociatedBackward(bench::SharedContext(), {}, Projection(), Roles(), Saved(), In(dout),
                               {{dx.data(), {1, T, kChannels}},
                                Dqg(),
                                {dwk.data(), {kChannels, kChannels}},
                                {dwv.data(), {kChannels, kChannels}},
                                {}});
  }

  idx_t T, G;
  std::array<idx_t, 4> shape;
  ref::Roles roles;
  std::vector<float> x, wk, wv, qg, dout, kg, vg, out, dkg, dvg, dx, dwk, dwv, dqg, lse;
};

// Projects a head, and compares what either form makes of a row: out by the weights in double, and
// the two forms' out and dqg with each other.
std::string CheckGlobal(GlobalProblem& p) {
  const ref::WindowShape shape{1, kHeads, p.T, kHeadSize, p.G};
  for (auto [to, w] : {std::pair{&p.kg, &p.wk}, std::pair{&p.vg, &p.wv}}) {
    for (idx_t t = 0; t < p.T; ++t) {  // head 0 alone
      for (idx_t d = 0; d < kHeadSize; ++d) {
        double sum = 0.0;
        for (idx_t c = 0; c < kChannels; ++c) {
          sum += static_cast<double>(p.x[static_cast<std::size_t>(t * kChannels + c)]) *
                 static_cast<double>((*w)[static_cast<std::size_t>(d * kChannels + c)]);
        }
        (*to)[static_cast<std::size_t>(t * kHeadSize + d)] = static_cast<float>(sum);
      }
    }
  }
  p.Forward();
  p.Backward();
  const std::vector<float> out(p.out), dqg(p.dqg);
  std::fill(p.dqg.begin(), p.dqg.end(), 0.0f);
  const std::vector<double> q(p.qg.begin(), p.qg.end()), k(p.kg.begin(), p.kg.end());
  const std::vector<double> v(p.vg.begin(), p.vg.end());
  const auto row = ref::WindowWeights<double>({}, shape, p.roles, q.data(), k.data(), 0, 0, 0);
  std::vector<double> want(kHeadSize);
  ref::WindowMix<double>(row, shape, v.data(), 0, want.data());
  std::string wrong = Differs("out", out, 0, want);
  p.ReassociatedForward();
  p.ReassociatedBackward();
  if (wrong.empty()) wrong = Differs("re-associated out", p.out, 0, want);
  want.assign(dqg.begin(), dqg.begin() + kHeadSize);
  return wrong.empty() ? Differs("re-associated dqg", p.dqg, 0, want) : wrong;
}

// Useful flop of the form that runs, and nothing else: the projections of the first are not in it.
void BM_GlobalForward(benchmark::State& state) {
  GlobalProblem p(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return CheckGlobal(p); })) return;
  for (auto _ : state) p.Forward();
  bench::ReportFlops(state, 4.0 * static_cast<double>(kChannels * p.T * p.G));
}

void BM_GlobalForwardBackward(benchmark::State& state) {
  GlobalProblem p(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return CheckGlobal(p); })) return;
  for (auto _ : state) {
    p.Forward();
    p.Backward();
  }
  bench::ReportFlops(state, 14.0 * static_cast<double>(kChannels * p.T * p.G));
}

void BM_ReassociatedForward(benchmark::State& state) {
  GlobalProblem p(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return CheckGlobal(p); })) return;
  for (auto _ : state) p.ReassociatedForward();
  bench::ReportFlops(state,
                     CountGlobalFlops(p.T, kChannels, kHeads, kHeadSize, p.G, false).reassociated);
}

void BM_ReassociatedForwardBackward(benchmark::State& state) {
  GlobalProblem p(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return CheckGlobal(p); })) return;
  for (auto _ : state) {
    p.ReassociatedForward();
    p.ReassociatedBackward();
  }
  bench::ReportFlops(state,
                     CountGlobalFlops(p.T, kChannels, kHeads, kHeadSize, p.G, true).reassociated);
}

// Lengths and widths; what a global token costs.
void Shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "w", "G"})->UseRealTime();
  for (const idx_t T : {4096, 16384, 65536}) bench->Args({T, 256, 0});
  for (const idx_t w : {64, 128, 512, 1024}) bench->Args({16384, w, 0});
  for (const idx_t G : {1, 64}) bench->Args({16384, 256, G});
}
BENCHMARK(BM_Forward)->Apply(Shapes);
BENCHMARK(BM_ForwardBackward)->Apply(Shapes);

void GlobalShapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"T", "G"})->UseRealTime();
  for (const idx_t G : {1, 16, 64}) bench->Args({16384, G});
}
BENCHMARK(BM_GlobalForward)->Apply(GlobalShapes);
BENCHMARK(BM_GlobalForwardBackward)->Apply(GlobalShapes);
BENCHMARK(BM_ReassociatedForward)->Apply(GlobalShapes);
BENCHMARK(BM_ReassociatedForwardBackward)->Apply(GlobalShapes);

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
