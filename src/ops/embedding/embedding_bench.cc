// Look-up and its gradient: bounded by memory, so reported in bytes moved.
#include <cstdint>
#include <vector>

#include "bench/support/bench.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/embedding_ref.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

struct Inputs {
  idx_t tokens, vocabulary, width;
  std::vector<std::int32_t> ids;
  std::vector<float> table, rows;
};

Inputs MakeInputs(const benchmark::State& state) {
  Inputs in{state.range(0), state.range(1), state.range(2), {}, {}, {}};
  Rng rng(1);
  for (idx_t t = 0; t < in.tokens; ++t) {
    in.ids.push_back(static_cast<std::int32_t>(rng.Below(in.vocabulary)));
  }
  in.table = test::RandomNormal(2, in.vocabulary * in.width);
  in.rows = test::RandomNormal(3, in.tokens * in.width);
  return in;
}

void BM_EmbeddingForward(benchmark::State& state) {
  Inputs in = MakeInputs(state);
  const auto run = [&] {
    EmbeddingForward(bench::SharedContext(), in.ids, {in.table.data(), {in.vocabulary, in.width}},
                     {in.rows.data(), {in.tokens, in.width}});
  };
  const auto check = [&]() -> std::string {
    run();
    const bool same = in.rows == ref::EmbeddingForward(in.ids, in.table, in.width);
    return same ? "" : "rows differ from the reference";
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  bench::ReportBytes(state, 8.0 * static_cast<double>(in.tokens * in.width));
}

void BM_EmbeddingBackward(benchmark::State& state) {
  Inputs in = MakeInputs(state);
  const auto run = [&] {
    EmbeddingBackward(bench::SharedContext(), in.ids, {in.rows.data(), {in.tokens, in.width}},
                      {in.table.data(), {in.vocabulary, in.width}});
  };
  const auto check = [&]() -> std::string {
    std::vector<float> expected = in.table;
    ref::EmbeddingBackward(in.ids, in.rows, in.width, expected);
    run();
    return in.table == expected ? "" : "table differs from the reference";
  };
  if (!bench::Verify(state, check)) return;
  for (auto _ : state) run();
  bench::ReportBytes(state, 12.0 * static_cast<double>(in.tokens * in.width));
}

// Tokens, vocabulary, width: bytes of a Reformer, word pieces of a Longformer.
BENCHMARK(BM_EmbeddingForward)->Args({16384, 258, 256})->Args({4096, 50265, 768})->UseRealTime();
BENCHMARK(BM_EmbeddingBackward)->Args({16384, 258, 256})->Args({4096, 50265, 768})->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN()
