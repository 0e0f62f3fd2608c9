// What reversing costs beside its branches: with branches that only add a scaled stream the time is
// that of the memory traffic.
#include <cmath>
#include <vector>

#include "bench/support/bench.h"
#include "ops/reversible/reversible.h"
#include "parallel/parallel_for.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

// y += factor * x, in tasks of 64 rows.
void AddScaled(float factor, const View<const float, 2>& x, const View<float, 2>& y) {
  ParallelFor(bench::SharedContext(), x.extent[0] / 64, [&](idx_t task, int) {
    const float* from = x.data + task * 64 * x.stride[0];
    float* to = y.data + task * 64 * y.stride[0];
    for (idx_t i = 0; i < 64 * x.extent[1]; ++i) to[i] += factor * from[i];
  });
}

ReversibleBranch Scaled(float factor) {
  return {[=](const ResidualStream& x, const ResidualStream& y) {
            AddScaled(factor, x.Floats(), y.Floats());
          },
          [=](const ResidualStream& x, const ResidualStream& y, const ResidualStream& dy,
              const ResidualStream& dx) {
            AddScaled(-factor, x.Floats(), y.Floats());
            AddScaled(factor, dy.Floats(), dx.Floats());
          }};
}

void BM_ReversibleThereAndBack(benchmark::State& state) {
  const idx_t tokens = state.range(0), width = state.range(1);
  const std::vector<float> x = test::RandomNormal(1, tokens * width);
  std::vector<float> s1 = x, s2 = x, d1 = x, d2 = x;
  const auto view = [&](std::vector<float>& v) {
    return View<float, 2>(v.data(), {tokens, width});
  };
  const ReversibleBranch f = Scaled(0.5f), g = Scaled(-0.25f);
  const auto run = [&] {
    ReversibleForward(f, g, view(s1), view(s2));
    ReversibleBackward(f, g, view(s1), view(s2), view(d1), view(d2));
  };
  const auto check = [&]() -> std::string {
    run();
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!(std::abs(s1[i] - x[i]) < 1e-5f)) return "the input was not recovered";
    }
    return "";
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) {
    run();
    state.PauseTiming();
    d1 = x;  // gradients would grow from one repetition to the next
    d2 = x;
    state.ResumeTiming();
  }
  // Two sums forward and four backward, each reads two streams and writes one.
  bench::ReportBytes(state, 6.0 * 12.0 * static_cast<double>(tokens * width));
}
BENCHMARK(BM_ReversibleThereAndBack)->Args({16384, 256})->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN()
