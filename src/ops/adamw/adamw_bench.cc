// The optimiser's step and the gradient's norm: bounded by memory.
#include <cmath>
#include <vector>

#include "bench/support/bench.h"
#include "ops/adamw/adamw.h"
#include "ops/adamw/adamw_ref.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

void BM_AdamWStep(benchmark::State& state) {
  const idx_t count = state.range(0);
  std::vector<float> w = test::RandomNormal(1, count), g = test::RandomNormal(2, count);
  std::vector<float> m(w.size()), v(w.size());
  AdamWSpec spec;
  spec.weight_decay = 0.01f;
  const auto run = [&] {
    AdamWStep(bench::SharedContext(), spec, {w.data(), {count}}, {g.data(), {count}},
              {m.data(), {count}}, {v.data(), {count}});
    ++spec.step;
  };
  const auto check = [&]() -> std::string {
    ref::AdamWState<float> expected{w, m, v};
    ref::AdamWStep(spec, g, expected);
    run();
    for (std::size_t i = 0; i < w.size(); ++i) {
      if (!(std::abs(w[i] - expected.w[i]) < 1e-6f)) return "differs from the reference";
    }
    return "";
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  // Reads and writes parameter, gradient and both moments.
  bench::ReportBytes(state, 32.0 * static_cast<double>(count));
}

void BM_SquaredNorm(benchmark::State& state) {
  const idx_t count = state.range(0);
  const std::vector<float> g = test::RandomNormal(2, count);
  double norm = 0.0;
  const auto run = [&] { norm = SquaredNorm(bench::SharedContext(), {g.data(), {count}}); };
  const auto check = [&]() -> std::string {
    double expected = 0.0;
    for (const float x : g) expected += static_cast<double>(x) * static_cast<double>(x);
    run();
    return std::abs(norm - expected) <= 1e-9 * expected ? "" : "differs from the reference";
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) {
    run();
    benchmark::DoNotOptimize(norm);
  }
  bench::ReportBytes(state, 4.0 * static_cast<double>(count));
}

BENCHMARK(BM_AdamWStep)->Arg(1 << 16)->Arg(1 << 24)->UseRealTime();
BENCHMARK(BM_SquaredNorm)->Arg(1 << 16)->Arg(1 << 24)->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN()
