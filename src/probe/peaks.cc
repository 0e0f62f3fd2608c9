#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "base/errors.h"
#include "base/isa.h"
#include "base/math.h"
#include "longspan/machine.h"
#include "parallel/parallel_for.h"
#include "probe/clock.h"
#include "probe/judge.h"
#include "probe/loops.h"

namespace longspan {
namespace {

using probe::Chains;
using probe::Seconds;

// Runs body(task) on all threads at once: each waits for the others before it starts. The wait
// ends after 20 ms in case the system grants fewer threads than asked for.
template <class Body>
void AllAtOnce(const Context& context, const Body& body) {
  std::atomic<int> arrived{0};
  ParallelFor(context, context.threads(), [&](idx_t task, int) {
    ++arrived;
    const double give_up = Seconds() + 0.02;
    while (arrived.load(std::memory_order_relaxed) < context.threads() && Seconds() < give_up) {
    }
    body(task);
  });
}

// What keeps a loop's result alive. All threads write it.
std::atomic<float> sink_float;
std::atomic<std::uint64_t> sink_integer;
template <class T>
void Keep(std::atomic<T>& sink, T value) {
  sink.store(value, std::memory_order_relaxed);
}

// Steps that take about `seconds` on the calling thread.
idx_t Calibrate(const std::function<void(idx_t)>& loop, double seconds) {
  for (idx_t steps = 1024;; steps *= 2) {
    const double begin = Seconds();
    loop(steps);
    const double took = Seconds() - begin;
    if (took > seconds / 8) {
      return RoundUp(static_cast<idx_t>(static_cast<double>(steps) * seconds / took), 64);
    }
  }
}

// Steps per second, summed over the threads: the best of many short runs of each thread while all
// of them are busy, so that a disturbed moment does not count.
double BestRate(const Context& context, const std::function<void(idx_t)>& loop, double budget) {
  constexpr double kRun = 0.001;
  const idx_t steps = Calibrate(loop, kRun);
  const int runs = std::max(3, static_cast<int>(budget / kRun));
  std::vector<double> best(static_cast<std::size_t>(context.threads()), 0.0);
  AllAtOnce(context, [&](idx_t task) {
    for (int run = 0; run < runs; ++run) {
      const double begin = Seconds();
      loop(steps);
      const double rate = static_cast<double>(steps) / (Seconds() - begin);
      double& mine = best[static_cast<std::size_t>(task)];
      mine = std::max(mine, rate);
    }
  });
  return std::accumulate(best.begin(), best.end(), 0.0);
}

double FmaGflops(const Context& context, Chains chains, double budget) {
  const double rate = BestRate(
      context, [&](idx_t steps) { Keep(sink_float, probe::FmaLoop(chains, steps)); }, budget);
  return 2e-9 * static_cast<double>(probe::FloatLanes() * probe::ChainCount(chains)) * rate;
}

double CoreGhz(const Context& context, double budget) {
  const double rate = BestRate(
      context, [](idx_t steps) { Keep(sink_integer, probe::AddChain(steps)); }, budget);
  return 1e-9 * rate / context.threads();
}

// Elements of one triad array: 64 MiB, or the last cache's size where that is larger.
idx_t TriadElements() {
  constexpr idx_t kLeast = idx_t{64} << 20, kMost = idx_t{256} << 20;
  const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
  const idx_t bytes = std::clamp<idx_t>(cache, kLeast, kMost);
  return RoundUp(bytes / static_cast<idx_t>(sizeof(float)), 4096);
}

double TriadGbPerS(const Context& context) {
  constexpr int kRuns = 6;
  constexpr idx_t kBlock = idx_t{1} << 18;  // elements of one task
  const idx_t count = RoundUp(TriadElements(), kBlock);
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  std::unique_ptr<float, decltype(&std::free)> memory(
      static_cast<float*>(std::aligned_alloc(64, 3 * bytes)), &std::free);
  Check(memory != nullptr, ErrorCode::kLimit, "memory probe: no {} bytes of memory", 3 * bytes);
  float* const a = memory.get();
  float* const b = a + count;
  float* const c = b + count;
  ParallelFor(context, count / kBlock, [&](idx_t task, int) {
    for (float* array : {a, b, c}) std::fill_n(array + task * kBlock, kBlock, 1.0f);
  });
  double best = 0.0;
  for (int run = 0; run < kRuns; ++run) {
    const double begin = Seconds();
    ParallelFor(context, count / kBlock, [&](idx_t task, int) {
      const idx_t at = task * kBlock;
      probe::Triad(b + at, c + at, a + at, kBlock);
    });
    best = std::max(best, 3e-9 * static_cast<double>(bytes) / (Seconds() - begin));
  }
  return best;
}

}  // namespace

namespace probe {

std::uint64_t AddChain(idx_t steps) {
  std::uint64_t value = 1, step = 3;
  // Written out: in a loop of one addition the jump decides, not the addition. The empty asm is
  // opaque to the compiler, which cannot fold two additions into one.
  const auto add = [&value, &step] {
    value += step;
    __asm__ volatile("" : "+r"(value), "+r"(step));
  };
  const auto add8 = [&add] { add(), add(), add(), add(), add(), add(), add(), add(); };
  for (idx_t i = 0; i < steps; i += 64)
    add8(), add8(), add8(), add8(), add8(), add8(), add8(), add8();
  return value;
}

void Judge(idx_t lanes, int threads, double check_gflops, Peaks& peaks) {
  const double cycles = peaks.core_ghz * threads;
  peaks.fp32_flop_per_cycle = cycles > 0.0 ? peaks.fp32_gflops / cycles : 0.0;
  const double pipe = 2.0 * static_cast<double>(lanes);  // flop of one FMA instruction
  const double pipes = std::round(peaks.fp32_flop_per_cycle / pipe);
  const double off = peaks.fp32_flop_per_cycle / (pipe * std::max(1.0, pipes));
  // Instruction sets below AVX2 have no FMA: a multiply-add is two instructions on pipes that the
  // vendors count differently, so only the agreement of the two loops is judged.
  const bool fma = lanes >= 8;
  const bool whole = !fma || (pipes >= 1.0 && pipes <= 2.0 && off > 0.9 && off < 1.08);
  const bool agree = peaks.fp32_gflops >= 0.93 * check_gflops;
  peaks.plausible = whole && agree && peaks.fp32_gflops > 0.0;
  peaks.note = fmt::format(
      "expected {} flop/cycle for one pipe of {} floats or {} for two, saw {:.1f}; "
      "8 chains reach {:.1f} GFLOP/s{}",
      pipe, lanes, 2 * pipe, peaks.fp32_flop_per_cycle, check_gflops,
      !agree   ? ": the probe's accumulators do not stay in registers or do not fill the pipes"
      : !whole ? ": the machine is disturbed or its clock changed"
               : "");
}

}  // namespace probe

double ProbeFp32Gflops(Context& context, double seconds) {
  return FmaGflops(context, Chains::kFull, seconds);
}

double ProbeBf16Gflops(Context& context, double seconds) {
  const Isa isa = ActiveIsa();
  const double flop = probe::Bf16FlopPerStep(isa);
  if (flop == 0.0 || !probe::AllowBf16(isa)) return ProbeFp32Gflops(context, seconds);
  return 1e-9 * flop *
         BestRate(
             context, [isa](idx_t steps) { Keep(sink_float, probe::Bf16Loop(isa, steps)); },
             seconds);
}

Peaks ProbePeaks(Context& context) {
  Peaks peaks;
  // Twice, with the clock in between: the better figures are of the same quiet moment.
  for (int round = 0; round < 2; ++round) {
    peaks.fp32_gflops = std::max(peaks.fp32_gflops, FmaGflops(context, Chains::kFull, 0.04));
    peaks.core_ghz = std::max(peaks.core_ghz, CoreGhz(context, 0.03));
  }
  const double check = FmaGflops(context, Chains::kCheck, 0.04);
  const bool bf16 = probe::Bf16FlopPerStep(ActiveIsa()) > 0.0;
  peaks.bf16_gflops = bf16 ? ProbeBf16Gflops(context) : peaks.fp32_gflops;
  peaks.memory_gb_per_s = TriadGbPerS(context);
  probe::Judge(probe::FloatLanes(), context.threads(), check, peaks);
  return peaks;
}

std::string Describe(const Peaks& peaks) {
  return fmt::format(
      "fp32 {:.1f} GFLOP/s ({:.1f} flop/cycle a core at {:.2f} GHz), bf16 {:.1f} GFLOP/s, "
      "memory {:.1f} GB/s{}",
      peaks.fp32_gflops, peaks.fp32_flop_per_cycle, peaks.core_ghz, peaks.bf16_gflops,
      peaks.memory_gb_per_s,
      peaks.plausible ? std::string() : fmt::format("; NOT PLAUSIBLE: {}", peaks.note));
}

}  // namespace longspan
