// Causal LSH attention, H 8, D 64, chunk 64, one chunk of look-back, Hugging Face's number of
// buckets: hash, sort and attention, forward and forward with backward. Useful flop: every query
// and every key of its window in every round; the hash counts nothing.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "base/rng.h"
#include "bench/support/bench.h"
#include "longspan/attention.h"
#include "ops/lsh_attention/lsh_attention_ref.h"

namespace longspan {
namespace {

constexpr idx_t kHeads = 8, kHeadSize = 64, kChunk = 64;
constexpr int kRowsChecked = 64;

struct Problem {
  Problem(idx_t tokens, idx_t rounds) : T(tokens), shape{1, kHeads, tokens, kHeadSize} {
    spec.chunk = kChunk;
    spec.causal = true;
    spec.rounds = rounds;
    spec.buckets = LshBucketFactors(T, kChunk, T);
    std::uint64_t seed = 1;
    for (auto* a : {&qk, &v, &dout, &out, &dqk, &dv}) {
      a->resize(static_cast<std::size_t>(kHeads * T * kHeadSize));
      if (seed <= 3) FillNormal(seed, 1.0f, a->data(), static_cast<idx_t>(a->size()));
      ++seed;
    }
    max.resize(static_cast<std::size_t>(kHeads * T));
    sum.resize(max.size());
    buckets.resize(static_cast<std::size_t>(kHeads * rounds * T));
    rotations.resize(
        static_cast<std::size_t>(kHeads * kHeadSize * rounds * spec.RotationColumns()));
    FillNormal(9, 1.0f, rotations.data(), static_cast<idx_t>(rotations.size()));
  }
  View<const float, 4> In(const std::vector<float>& a) const { return {a.data(), shape}; }
  View<float, 4> Out(std::vector<float>& a) const { return {a.data(), shape}; }
  SharedQkv Inputs() const { return {In(qk), In(v)}; }
  SharedSaved Saved() {
    return {Out(out), {max.data(), {1, kHeads, T}}, {sum.data(), {1, kHeads, T}}};
  }
  LshBuckets Buckets() { return {buckets.data(), {1, kHeads, spec.rounds, T}}; }
  void Hash() {
    LshHash(bench::SharedContext(), spec, In(qk), {},
            {rotations.data(), {kHeads, kHeadSize, spec.rounds, spec.RotationColumns()}},
            Buckets());
  }
  void Forward() {
    Hash();
    LshForward(bench::SharedContext(), spec, Inputs(), {}, Buckets(), Saved());
  }
  void Backward() {
    LshBackward(bench::SharedContext(), spec, Inputs(), {}, Buckets(), Saved(), In(dout),
                {Out(dqk), Out(dv)});
  }
  double WindowKeys() const {
    return static_cast<double>(kHeads * T * spec.rounds * spec.WindowSlots());
  }

  idx_t T;
  std::array<idx_t, 4> shape;
  LshSpec spec;
  std::vector<float> qk, v, dout, out, dqk, dv, max, sum, rotations;
  std::vector<std::uint16_t> buckets;
};

// One head in double, token by token.
class Oracle {
 public:
  Oracle(const Problem& problem, idx_t h) : x_(problem) {
    const auto part = [&](const std::vector<float>& a) {
      const auto first = a.begin() + static_cast<std::ptrdiff_t>(h * x_.T * kHeadSize);
      return std::vector<double>(first, first + static_cast<std::ptrdiff_t>(x_.T * kHeadSize));
    };
    qk_ = part(x_.qk);
    v_ = part(x_.v);
    dout_ = part(x_.dout);
    shape_ = {1, 1, x_.T, kHeadSize};
    keys_ = ref::LshKeys(shape_, qk_.data());
    order_.resize(static_cast<std::size_t>(x_.spec.rounds * x_.T));
    LshSort({x_.buckets.data() + h * x_.spec.rounds * x_.T, {x_.spec.rounds, x_.T}},
            x_.spec.BucketCount() + 1, {order_.data(), {x_.spec.rounds, x_.T}});
    places_ = ref::LshPlaces(order_.data(), x_.spec.rounds, x_.T);
  }

  struct Row {
    std::vector<double> out = std::vector<double>(kHeadSize), dqk = out, dv = out;
  };
  Row Compute(idx_t t) {
    Row row;
    for (const auto& round : Token(t).rounds) {
      const auto r = static_cast<std::size_t>(&round - Token(t).rounds.data());
      for (std::size_t d = 0; d < kHeadSize; ++d) row.out[d] += Token(t).weight[r] * round.out[d];
    }
    Visit(t, [&](idx_t key, double, double ds) {
      for (std::size_t d = 0; d < kHeadSize; ++d) {
        row.dqk[d] += ds * keys_[static_cast<std::size_t>(key) * kHeadSize + d];
      }
    });
    std::vector<double> dkey(kHeadSize);
    for (const idx_t query : QueriesThatMaySee(t)) {
      Visit(query, [&](idx_t key, double weight, double ds) {
        if (key != t) return;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          const std::size_t at = static_cast<std::size_t>(query) * kHeadSize + d;
          dkey[d] += ds * qk_[at];
          row.dv[d] += weight * dout_[at];
        }
      });
    }
    ref::LshKeyBackward(qk_.data() + t * kHeadSize, dkey.data(), kHeadSize, row.dqk.data());
    return row;
  }

 private:
  const ref::LshToken<double>& Token(idx_t t) {
    auto found = tokens_.find(t);
    if (found == tokens_.end()) {
      found = tokens_
                  .emplace(t, ref::LshCombine(x_.spec, shape_, qk_.data(), keys_.data(), v_.data(),
                                              order_.data(), places_, {}, 0, 0, t))
                  .first;
    }
    return found->second;
  }
  template <class Take>
  void Visit(idx_t t, const Take& take) {
    ref::LshVisitScores(Token(t), dout_.data() + t * kHeadSize, v_.data(), kHeadSize, take);
  }
  // Every token of the chunks whose windows hold t, once.
  std::vector<idx_t> QueriesThatMaySee(idx_t t) const {
    std::vector<idx_t> queries;
    const idx_t n = (x_.T + kChunk - 1) / kChunk, circle = n * x_.spec.rounds;
    for (idx_t r = 0; r < x_.spec.rounds; ++r) {
      const std::int32_t* sorted = order_.data() + r * x_.T;
      const idx_t i = std::find(sorted, sorted + x_.T, static_cast<std::int32_t>(t)) - sorted;
      for (const idx_t c : {r * n + i / kChunk, (r * n + i / kChunk + 1) % circle}) {
        for (idx_t j = c % n * kChunk; j < std::min(x_.T, (c % n + 1) * kChunk); ++j) {
          queries.push_back(order_[static_cast<std::size_t>(c / n * x_.T + j)]);
        }
      }
    }
    std::sort(queries.begin(), queries.end());
    queries.erase(std::unique(queries.begin(), queries.end()), queries.end());
    return queries;
  }

  const Problem& x_;
  ref::LshShape shape_;
  std::vector<double> qk_, v_, dout_, keys_;
  std::vector<std::int32_t> order_;
  std::vector<idx_t> places_;  // where each token stands in a round
  std::map<idx_t, ref::LshToken<double>> tokens_;
};

std::string CheckRows(Problem& x) {
  x.Forward();
  x.Backward();
  Rng rng(7);
  for (idx_t h = 0; h < kHeads; ++h) {
    Oracle oracle(x, h);
    for (idx_t i = 0; i < kRowsChecked / kHeads; ++i) {
      const idx_t t = rng.Below(x.T);
      const Oracle::Row want = oracle.Compute(t);
      const auto at = static_cast<std::size_t>((h * x.T + t) * kHeadSize);
      const auto error = [&](const std::vector<float>& got, const std::vector<double>& row) {
        double most = 0.0;
        for (std::size_t d = 0; d < kHeadSize; ++d) {
          const double e = std::abs(static_cast<double>(got[at + d]) - row[d]);
          most = e <= most ? most : e;  // NaN stays
        }
        return most;
      };
      for (const auto& [name, e] : {std::pair{"out", error(x.out, want.out)},
                                    {"dqk", error(x.dqk, want.dqk)},
                                    {"dv", error(x.dv, want.dv)}}) {
        if (!(e <= 2e-5)) {
          return fmt::format("{} of head {}, token {}: error {:.2e}", name, h, t, e);
        }
      }
    }
  }
  return {};
}

void BM_Hash(benchmark::State& state) {
  Problem x(state.range(0), state.range(1));
  for (auto _ : state) x.Hash();
  bench::ReportFlops(
      state, 2.0 * kHeadSize *
                 static_cast<double>(kHeads * x.T * x.spec.rounds * x.spec.RotationColumns()));
}

void BM_Forward(benchmark::State& state) {
  Problem x(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return CheckRows(x); })) return;
  for (auto _ : state) x.Forward();
  bench::ReportFlops(state, 4.0 * kHeadSize * x.WindowKeys());
}

void BM_ForwardBackward(benchmark::State& state) {
  Problem x(state.range(0), state.range(1));
  if (!bench::Verify(state, [&] { return CheckRows(x); })) return;
  for (auto _ : state) {
    x.Forward();
    x.Backward();
  }
  bench::ReportFlops(state, 14.0 * kHeadSize * x.WindowKeys());
}

BENCHMARK(BM_Hash)->ArgNames({"T", "R"})->Args({16384, 4})->UseRealTime();
BENCHMARK(BM_Forward)
    ->ArgNames({"T", "R"})
    ->Args({4096, 1})
    ->Args({16384, 1})
    ->Args({16384, 4})
    ->Args({65536, 4})
    ->UseRealTime();
BENCHMARK(BM_ForwardBackward)
    ->ArgNames({"T", "R"})
    ->Args({4096, 1})
    ->Args({16384, 1})
    ->Args({16384, 4})
    ->Args({65536, 4})
    ->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
