#include "bench/support/bench.h"

#include <cstdio>
#include <exception>

namespace longspan::bench {
namespace {

bool failed = false;

void Print(const char* when, const Context& context, const Peaks& peaks) {
  std::fprintf(stderr, "%s: %s; %s\n", when, context.Describe().c_str(), Describe(peaks).c_str());
}

}  // namespace

Context& SharedContext() {
  static Context context;
  return context;
}

const Peaks& StartPeaks() {
  static const Peaks peaks = ProbePeaks(SharedContext());
  return peaks;
}

void ReportFlops(benchmark::State& state, double flop, Against against) {
  const Peaks& peaks = StartPeaks();
  const double peak = against == Against::kBf16 ? peaks.bf16_gflops : peaks.fp32_gflops;
  using benchmark::Counter;
  state.counters["GFLOP/s"] = Counter(flop * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = Counter(flop * 1e-9 / peak, Counter::kIsIterationInvariantRate);
}

void ReportBytes(benchmark::State& state, double bytes) {
  const double peak = StartPeaks().memory_gb_per_s;
  using benchmark::Counter;
  state.counters["GB/s"] = Counter(bytes * 1e-9, Counter::kIsIterationInvariantRate);
  state.counters["of_memory"] = Counter(bytes * 1e-9 / peak, Counter::kIsIterationInvariantRate);
}

bool Verify(benchmark::State& state, const std::function<std::string()>& check) {
  std::string wrong;
  try {
    wrong = check();
  } catch (const std::exception& error) {
    wrong = error.what();
  }
  if (wrong.empty()) return true;
  failed = true;
  state.SkipWithError(("verification failed: " + wrong).c_str());
  return false;
}

int Main(int argc, char** argv) {
  try {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    Context& context = SharedContext();
    Print("before", context, StartPeaks());
    benchmark::RunSpecifiedBenchmarks();
    Print("after", context, ProbePeaks(context));
    benchmark::Shutdown();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return failed ? 1 : 0;
}

}  // namespace longspan::bench
