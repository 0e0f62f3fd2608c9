// Axial position vectors: bounded by memory, so reported in bytes moved.
#include <cmath>
#include <vector>

#include "bench/support/bench.h"
#include "ops/axial_position/axial_position.h"
#include "ops/axial_position/axial_position_ref.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

// A grid of 128 x S1 with a quarter of the width in T0, as the published models have it.
struct Inputs {
  ref::AxialShape shape;
  idx_t tokens, width;
  std::vector<float> t0, t1, x;
  Dropout columns;

  explicit Inputs(const benchmark::State& state)
      : shape{128, state.range(0) / 128, state.range(1) / 4, state.range(1) - state.range(1) / 4},
        tokens(state.range(0)),
        width(state.range(1)),
        t0(test::RandomNormal(1, shape.s0 * shape.d0)),
        t1(test::RandomNormal(2, shape.s1 * shape.d1)),
        x(test::RandomNormal(3, tokens * width)),
        columns{0.05f, 9} {}

  AxialTables tables() const {
    return {{t0.data(), {shape.s0, shape.d0}}, {t1.data(), {shape.s1, shape.d1}}};
  }
};

std::string Near(const std::vector<float>& actual, const std::vector<float>& expected) {
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (!(std::abs(actual[i] - expected[i]) <= 1e-3f)) return "differs from the reference";
  }
  return "";
}

void BM_AxialForward(benchmark::State& state) {
  Inputs in(state);
  const View<float, 2> x(in.x.data(), {in.tokens, in.width});
  const auto run = [&] { AxialForward(bench::SharedContext(), in.tables(), in.columns, 1, 0, x); };
  const auto check = [&] {
    std::vector<float> expected = in.x;
    ref::AxialForward(in.shape, in.t0, in.t1, in.columns, 1, 0, expected);
    run();
    return Near(in.x, expected);
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  bench::ReportBytes(state, 8.0 * static_cast<double>(x.size()));
}

void BM_AxialBackward(benchmark::State& state) {
  Inputs in(state);
  std::vector<float> dt0(in.t0.size()), dt1(in.t1.size());
  const AxialGradients gradients{{dt0.data(), {in.shape.s0, in.shape.d0}},
                                 {dt1.data(), {in.shape.s1, in.shape.d1}}};
  const View<const float, 2> dx(in.x.data(), {in.tokens, in.width});
  const auto run = [&] {
    AxialBackward(bench::SharedContext(), in.tables(), in.columns, 1, 0, dx, gradients);
  };
  const auto check = [&] {
    std::vector<float> expected0(dt0.size()), expected1(dt1.size());
    ref::AxialBackward(in.shape, in.columns, 1, 0, in.x, expected0, expected1);
    run();
    return Near(dt0, expected0) + Near(dt1, expected1);
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  bench::ReportBytes(state, 4.0 * static_cast<double>(dx.size()));
}

// Tokens, width.
BENCHMARK(BM_AxialForward)->Args({16384, 256})->Args({65536, 512})->UseRealTime();
BENCHMARK(BM_AxialBackward)->Args({16384, 256})->Args({65536, 512})->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN()
