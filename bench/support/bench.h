// What every benchmark shares: a main() that prints the machine and its peaks before and after,
// counters for GFLOP/s and the fraction of the peak, and "verify, then time".
//
//   static void BM_Dense(benchmark::State& state) {
//     ... make inputs ...
//     if (!longspan::bench::Verify(state, [&]() -> std::string { ... "" or what is wrong ... })) {
//       return;
//     }
//     for (auto _ : state) Forward(longspan::bench::SharedContext(), ...);
//     longspan::bench::ReportFlops(state, 2.0 * t * n * k);
//   }
//   BENCHMARK(BM_Dense)->UseRealTime();
//   LONGSPAN_BENCH_MAIN();
//
// Always UseRealTime(): the work runs on several threads.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <string>

#include "longspan/context.h"
#include "longspan/machine.h"

namespace longspan::bench {

// The context of the whole program; LONGSPAN_THREADS sets its threads.
Context& SharedContext();

// The peaks measured before the first benchmark.
const Peaks& StartPeaks();

enum class Against { kFp32, kBf16 };

// Counters for work of `flop` per iteration: "GFLOP/s" and "of_peak" (1 = the measured peak).
void ReportFlops(benchmark::State& state, double flop, Against against = Against::kFp32);

// Counter "GB/s" for `bytes` per iteration, and "of_memory" against the triad.
void ReportBytes(benchmark::State& state, double bytes);

// Runs `check` once before the timing: it returns "" or what is wrong. On failure the benchmark is
// skipped with that error and the program's exit code becomes 1; the caller returns at once.
bool Verify(benchmark::State& state, const std::function<std::string()>& check);

int Main(int argc, char** argv);

}  // namespace longspan::bench

#define LONGSPAN_BENCH_MAIN() \
  int main(int argc, char** argv) { return ::longspan::bench::Main(argc, argv); }
