// Dropout: ten Philox rounds for every four values, against the memory that it streams.
#include <benchmark/benchmark.h>

#include "bench/support/bench.h"
#include "ops/dropout/dropout.h"
#include "ops/dropout/dropout_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

void BM_Dropout(benchmark::State& state) {
  const idx_t T = state.range(0), C = state.range(1);
  const Dropout site{0.1f, 77};
  std::vector<float> x = test::RandomNormal(1, T * C);
  const auto apply = [&] { ApplyDropout(bench::SharedContext(), site, {x.data(), {T, C}}); };
  const auto check = [&] {
    const std::vector<float> expected = DropoutReference(site, x, 0);
    apply();
    return test::CompareBits(x, expected).reason;
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) apply();
  bench::ReportBytes(state, 8.0 * static_cast<double>(x.size()));
}
BENCHMARK(BM_Dropout)->Args({16384, 512})->Args({4096, 2048})->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
