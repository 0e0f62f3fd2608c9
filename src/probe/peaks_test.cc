#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "base/isa.h"
#include "longspan/machine.h"
#include "probe/judge.h"
#include "probe/loops.h"

namespace longspan {
namespace {

// Best GFLOP/s of one thread over short runs.
double Gflops(probe::Chains chains) {
  double best = 0.0;
  for (int run = 0; run < 12; ++run) {
    const idx_t steps = 100000;
    const auto begin = std::chrono::steady_clock::now();
    volatile float sink = probe::FmaLoop(chains, steps);
    (void)sink;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const auto flop =
        2.0 * static_cast<double>(probe::FloatLanes() * probe::ChainCount(chains) * steps);
    best = std::max(best, 1e-9 * flop / took.count());
  }
  return best;
}

TEST(Peaks, ArePositiveAndDescribed) {
  Context context;
  const Peaks peaks = ProbePeaks(context);
  EXPECT_GT(peaks.fp32_gflops, 0.0);
  EXPECT_GT(peaks.bf16_gflops, 0.0);
  EXPECT_GT(peaks.memory_gb_per_s, 0.0);
  EXPECT_GT(peaks.core_ghz, 0.3);
  EXPECT_LT(peaks.core_ghz, 10.0);
  EXPECT_GT(peaks.fp32_flop_per_cycle, 0.0);
  EXPECT_NE(Describe(peaks).find("GFLOP/s"), std::string::npos);
  EXPECT_NE(peaks.note.find("expected"), std::string::npos);
  // A disturbed machine may well read implausibly; it must say so.
  EXPECT_EQ(Describe(peaks).find("NOT PLAUSIBLE") == std::string::npos, peaks.plausible);
}

TEST(Peaks, PartsAgreeWithTheWhole) {
  Context context;
  EXPECT_GT(ProbeFp32Gflops(context), 0.0);
  EXPECT_GT(ProbeBf16Gflops(context), 0.0);
}

TEST(RoundTrip, IsOfPairsOfThreadsOnly) {
  Context one(1), more(3);
  EXPECT_EQ(ProbeRoundTripNs(one), 0.0);
  const double ns = ProbeRoundTripNs(more);  // 0 where the system ran the threads in turn
  EXPECT_GE(ns, 0.0);
  EXPECT_LT(ns, 1e7);
}

TEST(Judge, FlagsAProbeBoundByLatency) {
  if (ActiveIsa() == Isa::kPortable) GTEST_SKIP() << "the portable vectors are not registers";
  Peaks peaks;
  peaks.core_ghz = 3.0;
  peaks.fp32_gflops = Gflops(probe::Chains::kStarved);
  probe::Judge(probe::FloatLanes(), 1, Gflops(probe::Chains::kCheck), peaks);
  EXPECT_FALSE(peaks.plausible) << peaks.note;
}

TEST(Judge, FlagsHalfOfThePipes) {
  // A spilling probe on two pipes of 16 floats reads exactly one pipe's worth.
  Peaks peaks;
  peaks.core_ghz = 4.0;
  peaks.fp32_gflops = 2 * 4.0 * 32.0;
  probe::Judge(16, 2, 2 * 4.0 * 64.0, peaks);
  EXPECT_FALSE(peaks.plausible) << peaks.note;
}

TEST(Judge, AcceptsOneAndTwoPipes) {
  for (const double pipes : {1.0, 2.0}) {
    for (const idx_t lanes : {8, 16}) {
      Peaks peaks;
      peaks.core_ghz = 3.5;
      peaks.fp32_gflops = 4 * 3.5 * 2.0 * static_cast<double>(lanes) * pipes * 0.98;
      probe::Judge(lanes, 4, peaks.fp32_gflops, peaks);
      EXPECT_TRUE(peaks.plausible) << peaks.note;
    }
  }
}

TEST(Judge, FlagsAMovingClock) {
  Peaks peaks;
  peaks.core_ghz = 3.0;
  peaks.fp32_gflops = 3.0 * 32.0 * 0.75;
  probe::Judge(8, 1, peaks.fp32_gflops, peaks);
  EXPECT_FALSE(peaks.plausible) << peaks.note;
}

TEST(Triad, AddsWhatItSays) {
  alignas(64) float a[256], b[256], c[256];
  for (int i = 0; i < 256; ++i) {
    a[i] = -1.0f;
    b[i] = static_cast<float>(i);
    c[i] = static_cast<float>(2 * i);
  }
  probe::Triad(b, c, a, 256);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(a[i], static_cast<float>(7 * i)) << i;
}

TEST(Rss, PeakGrowsAndResets) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers have memory of their own";
#endif
  constexpr std::size_t kBytes = std::size_t{96} << 20;
  ResetPeakRss();
  const idx_t before = PeakRssBytes();
  ASSERT_GT(before, 0);
  {
    const auto memory = std::make_unique<char[]>(kBytes);
    std::memset(memory.get(), 1, kBytes);
    volatile char sink = memory[kBytes / 2];
    (void)sink;
    EXPECT_GE(PeakRssBytes(), before + static_cast<idx_t>(kBytes) / 2);
  }
  EXPECT_GE(PeakRssBytes(), before + static_cast<idx_t>(kBytes) / 2);
  ResetPeakRss();
  EXPECT_LT(PeakRssBytes(), before + static_cast<idx_t>(kBytes) / 2);
}

}  // namespace
}  // namespace longspan
