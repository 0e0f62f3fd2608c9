// Rotary embedding is bound by memory: bytes against the machine's triad.
#include <benchmark/benchmark.h>

#include <numeric>

#include "bench/support/bench.h"
#include "ops/rotary/rotary.h"
#include "ops/rotary/rotary_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

// Queries and keys of a joined (T, 3 H D) matrix.
struct JoinedMatrix {
  idx_t tokens, heads, width;
  std::vector<float> qkv, cos, sin;

  JoinedMatrix(idx_t t, idx_t h, idx_t d)
      : tokens(t),
        heads(h),
        width(d),
        qkv(test::RandomNormal(1, t * 3 * h * d)),
        cos(static_cast<std::size_t>(t * d / 2)),
        sin(cos.size()) {
    FillRotaryTable(bench::SharedContext(), 10000.0,
                    {{cos.data(), {t, d / 2}}, {sin.data(), {t, d / 2}}});
  }
  void Rotate() {
    const idx_t stride = 3 * heads * width;
    RotaryForward(
        bench::SharedContext(),
        {{cos.data(), {tokens, width / 2}}, {sin.data(), {tokens, width / 2}}}, {},
        View<float, 4>{
            qkv.data(), {1, 2 * heads, tokens, width}, {tokens * stride, width, stride, 1}});
  }
  std::string Check() {
    std::vector<std::int32_t> positions(static_cast<std::size_t>(tokens));
    std::iota(positions.begin(), positions.end(), 0);
    const auto expected =
        ref::Rotary(test::ToDouble(qkv), positions, 3 * heads, width, 10000.0, 1.0);
    Rotate();
    std::vector<float> turned;
    std::vector<double> wanted;
    for (std::size_t i = 0; i < qkv.size(); ++i) {
      if (static_cast<idx_t>(i) % (3 * heads * width) >= 2 * heads * width) continue;
      turned.push_back(qkv[i]);
      wanted.push_back(expected[i]);
    }
    return test::Compare(turned, wanted, {1e-5, 1e-6}).reason;
  }
};

void BM_RotaryForward(benchmark::State& state) {
  JoinedMatrix b(state.range(0), state.range(1), state.range(2));
  if (!bench::Verify(state, [&] { return b.Check(); })) return;
  for (auto _ : state) b.Rotate();
  bench::ReportBytes(state, 16.0 * static_cast<double>(b.tokens * b.heads * b.width));
}
BENCHMARK(BM_RotaryForward)->Args({4096, 12, 64})->Args({4096, 12, 32})->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
