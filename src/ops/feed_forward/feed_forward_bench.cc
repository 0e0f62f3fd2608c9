// The feed-forward block at a Reformer's sizes, against the machine's fp32 peak.
#include <benchmark/benchmark.h>

#include <cmath>

#include "bench/support/bench.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/feed_forward/feed_forward_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

struct Buffers {
  idx_t T, C, F;
  FeedForwardSpec spec;
  std::vector<float> x, w1, b1, w2, b2, y, dx, dw1, db1, dw2, db2;

  Buffers(idx_t t, idx_t c, idx_t f, Activation activation, float dropout)
      : T(t),
        C(c),
        F(f),
        spec{activation, {dropout, 11}, {dropout, 22}},
        x(test::RandomNormal(1, t * c)),
        w1(test::RandomNormal(2, f * c, 1.0f / std::sqrt(static_cast<float>(c)))),
        b1(test::RandomNormal(3, f)),
        w2(test::RandomNormal(4, c * f, 1.0f / std::sqrt(static_cast<float>(f)))),
        b2(test::RandomNormal(5, c)),
        y(x.size()),
        dx(x.size()),
        dw1(w1.size()),
        db1(b1.size()),
        dw2(w2.size()),
        db2(b2.size()) {}
  FeedForwardWeights weights() const {
    return {{w1.data(), {F, C}}, {b1.data(), {F}}, {w2.data(), {C, F}}, {b2.data(), {C}}};
  }
  void Forward() {
    FeedForwardForward(bench::SharedContext(), spec, weights(), {x.data(), {T, C}},
                       {y.data(), {T, C}});
  }
  void Backward(bool undo) {  // x serves as dy, too
    const FeedForwardGradients gradients{
        {dw1.data(), {F, C}}, {db1.data(), {F}}, {dw2.data(), {C, F}}, {db2.data(), {C}}};
    FeedForwardBackward(bench::SharedContext(), spec, weights(), {x.data(), {T, C}},
                        {x.data(), {T, C}}, {dx.data(), {T, C}}, gradients,
                        undo ? View<float, 2>(y.data(), {T, C}) : View<float, 2>());
  }
  // The first token of a forward pass against double.
  std::string Check() {
    std::fill(y.begin(), y.end(), 0.0f);
    Forward();
    FeedForwardReferenceInputs<double> in{
        {}, test::ToDouble(w1), test::ToDouble(b1), test::ToDouble(w2), test::ToDouble(b2)};
    in.x.assign(x.begin(), x.begin() + C);
    const auto first = FeedForwardReference(spec, in);
    const std::vector<float> row(y.begin(), y.begin() + C);
    return test::Compare(row, first, {1e-4, 1e-5}).reason;
  }
  double products() const {
    return 2.0 * static_cast<double>(T) * static_cast<double>(C) * static_cast<double>(F);
  }
};

void BM_FeedForwardForward(benchmark::State& state, Activation activation, float dropout) {
  Buffers b(state.range(0), state.range(1), state.range(2), activation, dropout);
  if (!bench::Verify(state, [&] { return b.Check(); })) return;
  for (auto _ : state) b.Forward();
  bench::ReportFlops(state, 2.0 * b.products());
}

void BM_FeedForwardBackward(benchmark::State& state, Activation activation, float dropout,
                            bool undo) {
  Buffers b(state.range(0), state.range(1), state.range(2), activation, dropout);
  if (!bench::Verify(state, [&] { return b.Check(); })) return;
  for (auto _ : state) b.Backward(undo);
  bench::ReportFlops(state, (undo ? 6.0 : 5.0) * b.products());  // recomputing included
}

// The gated block of ModernBERT-base, without biases: 6 T C F flop forward.
void BM_GatedForward(benchmark::State& state) {
  const idx_t T = state.range(0), C = state.range(1), F = state.range(2);
  Buffers b(T, C, F, Activation::kGelu, 0.0f);
  b.w1 = test::RandomNormal(2, 2 * F * C, 1.0f / std::sqrt(static_cast<float>(C)));
  const FeedForwardSpec spec{Activation::kGelu, {}, {}, 0, true};
  const FeedForwardWeights weights{{b.w1.data(), {2 * F, C}}, {}, {b.w2.data(), {C, F}}, {}};
  const auto run = [&] {
    FeedForwardForward(bench::SharedContext(), spec, weights, {b.x.data(), {T, C}},
                       {b.y.data(), {T, C}});
  };
  const auto check = [&] {
    std::fill(b.y.begin(), b.y.end(), 0.0f);
    run();
    FeedForwardReferenceInputs<double> in{{}, test::ToDouble(b.w1), {}, test::ToDouble(b.w2), {}};
    in.b1.assign(static_cast<std::size_t>(2 * F), 0.0);
    in.b2.assign(static_cast<std::size_t>(C), 0.0);
    in.x.assign(b.x.begin(), b.x.begin() + C);
    const std::vector<float> row(b.y.begin(), b.y.begin() + C);
    return test::Compare(row, GatedReference(spec, in), {1e-4, 1e-5}).reason;
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  bench::ReportFlops(state, 3.0 * b.products());
}
BENCHMARK(BM_GatedForward)->Args({4096, 768, 1152})->UseRealTime()->Unit(benchmark::kMillisecond);

#define LONGSPAN_SIZES Args({16384, 512, 2048})->UseRealTime()->Unit(benchmark::kMillisecond)
BENCHMARK_CAPTURE(BM_FeedForwardForward, relu, Activation::kRelu, 0.0f)->LONGSPAN_SIZES;
BENCHMARK_CAPTURE(BM_FeedForwardForward, relu_dropout, Activation::kRelu, 0.1f)->LONGSPAN_SIZES;
BENCHMARK_CAPTURE(BM_FeedForwardForward, gelu_dropout, Activation::kGelu, 0.1f)->LONGSPAN_SIZES;
BENCHMARK_CAPTURE(BM_FeedForwardBackward, relu, Activation::kRelu, 0.0f, false)->LONGSPAN_SIZES;
BENCHMARK_CAPTURE(BM_FeedForwardBackward, relu_undo_dropout, Activation::kRelu, 0.1f, true)
    ->LONGSPAN_SIZES;
BENCHMARK_CAPTURE(BM_FeedForwardBackward, gelu_undo_dropout, Activation::kGelu, 0.1f, true)
    ->LONGSPAN_SIZES;

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
