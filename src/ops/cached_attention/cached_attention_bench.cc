// One query over scattered cells is bound by memory: bytes of the cells it reads.
#include <benchmark/benchmark.h>

#include <span>
#include <vector>

#include "base/rng.h"
#include "bench/support/bench.h"
#include "ops/cached_attention/cached_attention.h"
#include "ops/cached_attention/cached_attention_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

// state: listed cells, all cells, D.
void BM_AttendCached(benchmark::State& state) {
  const idx_t count = state.range(0), cells = state.range(1), size = state.range(2);
  const auto query = test::RandomNormal(1, size), memory = test::RandomNormal(2, cells * 2 * size);
  std::vector<const float*> list;
  Rng rng(3);
  for (idx_t i = 0; i < count; ++i) list.push_back(memory.data() + rng.Below(cells) * 2 * size);
  std::vector<float> weights(static_cast<std::size_t>(CachedWeights(count)));
  std::vector<float> out(static_cast<std::size_t>(size));
  CachedQuery q;
  q.query = query.data();
  q.cells = list.data();
  q.count = count;
  q.size = size;
  q.weights = weights.data();
  q.out = out.data();
  bench::SharedContext();
  const auto check = [&] {
    AttendCached(q);
    return test::Compare(std::span<const float>(out), ref::AttendCached<double>(q), {1e-4, 1e-4})
        .reason;
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) AttendCached(q);
  bench::ReportBytes(state, 8.0 * static_cast<double>(count * size));
}
BENCHMARK(BM_AttendCached)
    ->Args({128, 4096, 64})
    ->Args({128, 65536, 64})
    ->Args({2048, 65536, 128})
    ->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
