// Classifier and loss: 6 C V flop for each counted token with gradients, 2 C V without.
#include <cmath>
#include <vector>

#include "bench/support/bench.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_ref.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

struct Inputs {
  idx_t tokens, vocabulary, width, counted = 0;
  std::vector<float> w, b, h, dh, dw, db;
  std::vector<std::int32_t> labels;

  // The last argument: per cent of the tokens that have a label.
  explicit Inputs(const benchmark::State& state)
      : tokens(state.range(0)),
        vocabulary(state.range(1)),
        width(state.range(2)),
        w(test::RandomNormal(1, vocabulary * width, 0.05f)),
        b(test::RandomNormal(2, vocabulary)),
        h(test::RandomNormal(3, tokens * width)),
        dh(h.size()),
        dw(w.size()),
        db(b.size()) {
    Rng rng(4);
    for (idx_t t = 0; t < tokens; ++t) {
      const bool counts = rng.Below(100) < state.range(3);
      labels.push_back(counts ? static_cast<std::int32_t>(rng.Below(vocabulary)) : kIgnoreLabel);
      counted += counts ? 1 : 0;
    }
  }
  ClassifierWeights weights() const {
    return {{w.data(), {vocabulary, width}}, {b.data(), {vocabulary}}};
  }
  CrossEntropyResult Forward() {
    return CrossEntropyForward(bench::SharedContext(), weights(), {h.data(), {tokens, width}},
                               labels);
  }
  CrossEntropyResult ForwardBackward() {
    return CrossEntropyForwardBackward(
        bench::SharedContext(), weights(), {h.data(), {tokens, width}}, labels, 1e-3f,
        {dh.data(), {tokens, width}},
        {{dw.data(), {vocabulary, width}}, {db.data(), {vocabulary}}});
  }
  // Loss of the first eight counted tokens against the reference, and all losses finite.
  std::string Check(const CrossEntropyResult& all) {
    std::vector<std::int32_t> few = labels;
    idx_t left = 8;
    for (std::int32_t& label : few) {
      if (label != kIgnoreLabel && left-- <= 0) label = kIgnoreLabel;
    }
    const auto part =
        CrossEntropyForward(bench::SharedContext(), weights(), {h.data(), {tokens, width}}, few);
    const ref::Classifier<double> classifier{
        vocabulary, width, {w.begin(), w.end()}, {b.begin(), b.end()}};
    const double expected = ref::CrossEntropy<double>(classifier, {h.begin(), h.end()}, few);
    if (all.counted != counted || !std::isfinite(all.sum)) return "wrong count or loss";
    return std::abs(part.sum - expected) <= 1e-4 * expected ? "" : "loss differs";
  }
};

void BM_CrossEntropyForward(benchmark::State& state) {
  Inputs in(state);
  if (!bench::Verify(state, [&] { return in.Check(in.Forward()); })) return;
  for (auto _ : state) benchmark::DoNotOptimize(in.Forward());
  bench::ReportFlops(state, 2.0 * static_cast<double>(in.counted * in.vocabulary * in.width));
}

void BM_CrossEntropyForwardBackward(benchmark::State& state) {
  Inputs in(state);
  if (!bench::Verify(state, [&] { return in.Check(in.ForwardBackward()); })) return;
  for (auto _ : state) benchmark::DoNotOptimize(in.ForwardBackward());
  bench::ReportFlops(state, 6.0 * static_cast<double>(in.counted * in.vocabulary * in.width));
}

// Tokens, vocabulary, width, per cent counted: a language model on bytes, a masked one on pieces.
#define LONGSPAN_CASES(Benchmark)     \
  BENCHMARK(Benchmark)                \
      ->Args({16384, 258, 512, 100})  \
      ->Args({4096, 50265, 768, 15})  \
      ->Unit(benchmark::kMillisecond) \
      ->UseRealTime()
LONGSPAN_CASES(BM_CrossEntropyForward);
LONGSPAN_CASES(BM_CrossEntropyForwardBackward);

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN()
