// Layer normalisation is bound by memory: bytes against the machine's triad.
#include <benchmark/benchmark.h>

#include "bench/support/bench.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/layer_norm/layer_norm_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

struct Buffers {
  idx_t tokens, channels;
  std::vector<float> x, gamma, beta, y, dx, dgamma, dbeta;

  Buffers(idx_t t, idx_t c)
      : tokens(t),
        channels(c),
        x(test::RandomNormal(1, t * c)),
        gamma(test::RandomNormal(2, c)),
        beta(test::RandomNormal(3, c)),
        y(x.size()),
        dx(x.size()),
        dgamma(gamma.size()),
        dbeta(gamma.size()) {}
  std::array<idx_t, 2> shape() const { return {tokens, channels}; }
  LayerNormWeights weights() const {
    return {{gamma.data(), {channels}}, {beta.data(), {channels}}, 1e-5f};
  }
  void Forward() {
    LayerNormForward(bench::SharedContext(), weights(), {x.data(), shape()}, {y.data(), shape()});
  }
  // x serves as dy, too.
  void Backward() {
    LayerNormBackward(bench::SharedContext(), weights(), {x.data(), shape()}, {x.data(), shape()},
                      {dx.data(), shape()},
                      {{dgamma.data(), {channels}}, {dbeta.data(), {channels}}});
  }
  std::string Check() {
    Forward();
    const auto expected = LayerNormReference(test::ToDouble(x), test::ToDouble(gamma),
                                             test::ToDouble(beta), 1e-5f, tokens);
    return test::Compare(y, expected, {1e-5, 1e-6}).reason;
  }
};

void BM_LayerNormForward(benchmark::State& state) {
  Buffers b(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return b.Check(); })) return;
  for (auto _ : state) b.Forward();
  bench::ReportBytes(state, 8.0 * static_cast<double>(b.x.size()));
}
BENCHMARK(BM_LayerNormForward)->Args({16384, 512})->Args({4096, 768})->UseRealTime();

void BM_LayerNormBackward(benchmark::State& state) {
  Buffers b(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return b.Check(); })) return;
  for (auto _ : state) b.Backward();
  bench::ReportBytes(state, 16.0 * static_cast<double>(b.x.size()));
}
BENCHMARK(BM_LayerNormBackward)->Args({16384, 512})->Args({4096, 768})->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
