// Repetitions of some work, timed beside the machine's peak.
#pragma once

#include <functional>
#include <string>

#include "longspan/context.h"

namespace longspan {

struct BenchTimes {
  double seconds = 0.0, seconds_min = 0.0;  // median and least of a repetition
  double gflop = 0.0;                       // useful work of one
  double peak_gflops = 0.0;                 // all threads: median over the repetitions
  double fraction = 0.0;                    // median of the repetitions' own ratios
  double round_trip_ns = 0.0;               // between cores, median; 0 for one thread

  double gflops() const { return gflop / seconds; }
};

enum class PeakOf { kFp32, kBf16 };

// The machine's peak, GFLOP/s, beside work that took so many seconds: probed for as long, between
// 10 and 50 ms.
double ProbePeakFor(Context& context, PeakOf peak, double seconds);

// Runs `work` of `gflop` useful GFLOP `repetitions` times. The peak is probed before and after each
// repetition; the larger one counts, as the other one was disturbed. Behind each the way between
// the cores is probed, which a virtual machine may change at any time. kNumeric when a repetition
// was faster than the peak. `prepare`, if it is not empty, runs before each repetition, untimed.
BenchTimes TimeBesidePeak(Context& context, PeakOf peak, double gflop, idx_t repetitions,
                          const std::function<void()>& work,
                          const std::function<void()>& prepare = {});

// "2 threads, avx512; 88 ns from core to core and back"
std::string DescribeMachine(const Context& context, const BenchTimes& times);

}  // namespace longspan
