// Adafactor's step: bounded by memory.
#include <cmath>
#include <vector>

#include "bench/support/bench.h"
#include "ops/adafactor/adafactor.h"
#include "ops/adafactor/adafactor_ref.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

void BM_AdafactorStep(benchmark::State& state) {
  const idx_t shape[] = {state.range(0), state.range(1)};
  const idx_t count = shape[0] * shape[1];
  std::vector<float> w = test::RandomNormal(1, count), g = test::RandomNormal(2, count);
  std::vector<float> rows(static_cast<std::size_t>(shape[0]));
  std::vector<float> columns(static_cast<std::size_t>(shape[1]));
  AdafactorSpec spec;
  const auto run = [&] {
    AdafactorMoments moments;
    moments.rows = {rows.data(), {shape[0]}};
    moments.columns = {columns.data(), {shape[1]}};
    AdafactorStep(bench::SharedContext(), spec, shape, {w.data(), {count}}, {g.data(), {count}},
                  moments);
    ++spec.step;
  };
  const auto check = [&]() -> std::string {
    const std::vector<double> wide(g.begin(), g.end());
    auto expected = ref::BeginAdafactor<double>({w.begin(), w.end()}, shape);
    ref::AdafactorStep<double>(spec, shape, wide, expected);
    run();
    for (std::size_t i = 0; i < w.size(); ++i) {
      if (!(std::abs(static_cast<double>(w[i]) - expected.w[i]) < 1e-5)) {
        return "differs from the reference";
      }
    }
    return "";
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  // Reads the gradient three times and the parameter twice, and writes both once.
  bench::ReportBytes(state, 28.0 * static_cast<double>(count));
}

BENCHMARK(BM_AdafactorStep)->Args({256, 256})->Args({16384, 1024})->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN()
