// Causal chunked attention, H 8, D 64, chunk 64, one chunk of look-back: forward, and forward with
// backward, for growing lengths. Useful flop: every query and every key of its window.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/rng.h"
#include "bench/support/bench.h"
#include "longspan/attention.h"
#include "ops/chunked_attention/chunked_attention_ref.h"

namespace longspan {
namespace {

constexpr idx_t kHeads = 8, kHeadSize = 64, kChunk = 64;
constexpr int kRowsChecked = 64;

struct Problem {
  explicit Problem(idx_t tokens) : T(tokens), shape{1, kHeads, tokens, kHeadSize} {
    std::uint64_t seed = 1;
    for (auto* a : {&q, &k, &v, &dout, &out, &dq, &dk, &dv}) {
      a->resize(static_cast<std::size_t>(kHeads * T * kHeadSize));
      if (seed <= 4) FillNormal(seed, 1.0f, a->data(), static_cast<idx_t>(a->size()));
      ++seed;
    }
    lse.resize(static_cast<std::size_t>(kHeads * T));
    spec.chunk = kChunk;
    spec.causal = true;
  }
  View<const float, 4> In(const std::vector<float>& a) const { return {a.data(), shape}; }
  View<float, 4> Out(std::vector<float>& a) const { return {a.data(), shape}; }
  Qkv Inputs() const { return {In(q), In(k), In(v)}; }
  AttentionSaved Saved() { return {Out(out), {lse.data(), {1, kHeads, T}}}; }
  void Forward() { ChunkedForward(bench::SharedContext(), spec, Inputs(), {}, Saved()); }
  void Backward() {
    ChunkedBackward(bench::SharedContext(), spec, Inputs(), {}, Saved(), In(dout),
                    {Out(dq), Out(dk), Out(dv)});
  }
  double WindowKeys() const { return static_cast<double>(kHeads * T) * 2 * kChunk; }

  idx_t T;
  std::array<idx_t, 4> shape;
  ChunkedSpec spec;
  std::vector<float> q, k, v, dout, out, dq, dk, dv, lse;
};

// Largest error of the given chunk's rows of `got` (queries: out, dq; keys: dk, dv) in double.
// The window of two chunks is a small problem of its own: queries of chunk c see chunks c - 1 and
// c, keys of chunk c are seen from chunks c and c + 1. Chunks c - 1 to c + 1 hold all of it.
std::string CheckRow(Problem& x, idx_t h, idx_t t) {
  const idx_t c = t / kChunk, first = std::max<idx_t>(c - 1, 0) * kChunk;
  const idx_t last = std::min(x.T, (c + 2) * kChunk), rows = last - first;
  const auto at = static_cast<std::size_t>((h * x.T + first) * kHeadSize);
  const auto count = static_cast<std::size_t>(rows * kHeadSize);
  const auto part = [&](const std::vector<float>& a) {
    return std::vector<double>(a.begin() + static_cast<std::ptrdiff_t>(at),
                               a.begin() + static_cast<std::ptrdiff_t>(at + count));
  };
  const auto q = part(x.q), k = part(x.k), v = part(x.v), dout = part(x.dout);
  std::vector<double> out(count), lse(static_cast<std::size_t>(rows)), dq(count), dk(count),
      dv(count);
  const ref::ChunkedShape shape{1, 1, rows, kHeadSize};
  ref::ChunkedForward<double>(x.spec, shape, q.data(), k.data(), v.data(), {}, out.data(),
                              lse.data());
  ref::ChunkedBackward<double>(x.spec, shape, q.data(), k.data(), v.data(), {}, dout.data(),
                               dq.data(), dk.data(), dv.data());
  const auto row = static_cast<std::size_t>((t - first) * kHeadSize);
  const auto differs = [&](const char* name, const std::vector<float>& got,
                           const std::vector<double>& want) -> std::string {
    for (std::size_t d = 0; d < kHeadSize; ++d) {
      const double error = std::abs(static_cast<double>(got[at + row + d]) - want[row + d]);
      if (!(error <= 2e-5)) {
        return fmt::format("{} of head {}, token {}, element {}: error {:.2e}", name, h, t, d,
                           error);
      }
    }
    return {};
  };
  for (const std::string& wrong : {differs("out", x.out, out), differs("dq", x.dq, dq),
                                   differs("dk", x.dk, dk), differs("dv", x.dv, dv)}) {
    if (!wrong.empty()) return wrong;
  }
  return {};
}

std::string CheckRows(Problem& x) {
  x.Forward();
  x.Backward();
  Rng rng(7);
  for (int i = 0; i < kRowsChecked; ++i) {
    const std::string wrong = CheckRow(x, rng.Below(kHeads), rng.Below(x.T));
    if (!wrong.empty()) return wrong;
  }
  return {};
}

void BM_Forward(benchmark::State& state) {
  Problem x(state.range(0));
  if (!bench::Verify(state, [&] { return CheckRows(x); })) return;
  for (auto _ : state) x.Forward();
  bench::ReportFlops(state, 4.0 * kHeadSize * x.WindowKeys());
}

void BM_ForwardBackward(benchmark::State& state) {
  Problem x(state.range(0));
  if (!bench::Verify(state, [&] { return CheckRows(x); })) return;
  for (auto _ : state) {
    x.Forward();
    x.Backward();
  }
  bench::ReportFlops(state, 14.0 * kHeadSize * x.WindowKeys());
}

BENCHMARK(BM_Forward)->Arg(4096)->Arg(16384)->Arg(65536)->UseRealTime();
BENCHMARK(BM_ForwardBackward)->Arg(4096)->Arg(16384)->Arg(65536)->UseRealTime();

}  // namespace
}  // namespace longspan

LONGSPAN_BENCH_MAIN();
