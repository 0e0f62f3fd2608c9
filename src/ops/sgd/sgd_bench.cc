// SGD's step: bounded by memory.
#include <cmath>
#include <vector>

#include "bench/support/bench.h"
#include "ops/sgd/sgd.h"
#include "ops/sgd/sgd_ref.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

void BM_SgdStep(benchmark::State& state) {
  const idx_t count = state.range(0);
  std::vector<float> w = test::RandomNormal(1, count), g = test::RandomNormal(2, count);
  std::vector<float> m(w.size());
  SgdSpec spec;
  spec.momentum = 0.9f;
  const auto run = [&] {
    SgdStep(bench::SharedContext(), spec, {w.data(), {count}}, {g.data(), {count}},
            {m.data(), {count}});
  };
  const auto check = [&]() -> std::string {
    ref::SgdState<float> expected{w, m};
    ref::SgdStep(spec, g, expected);
    run();
    for (std::size_t i = 0; i < w.size(); ++i) {
      if (!(std::abs(w[i] - expected.w[i]) < 1e-6f)) return "differs from the reference";
    }
    return "";
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  // Reads and writes parameter, gradient and momentum.
  bench::ReportBytes(state, 24.0 * static_cast<double>(count));
}

BENCHMARK(BM_SgdStep)->Arg(1 << 16)->Arg(1 << 24)->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN()
