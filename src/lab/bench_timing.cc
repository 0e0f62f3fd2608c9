#include "lab/bench_timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "longspan/machine.h"

namespace longspan {

double ProbePeakFor(Context& context, PeakOf peak, double seconds) {
  // Work of a millisecond waits no 50 for its peak; ten runs find a quiet one as a rule.
  constexpr double kLeast = 0.01, kMost = 0.05;
  const double budget = std::clamp(seconds, kLeast, kMost);
  return peak == PeakOf::kBf16 ? ProbeBf16Gflops(context, budget)
                               : ProbeFp32Gflops(context, budget);
}

BenchTimes TimeBesidePeak(Context& context, PeakOf peak, double gflop, idx_t repetitions,
                          const std::function<void()>& work, const std::function<void()>& prepare) {
  std::vector<double> seconds, peaks, fractions, round_trips;
  double before = ProbePeakFor(context, peak, 0.0);
  for (idx_t i = 0; i < repetitions; ++i) {
    if (prepare) prepare();
    seconds.push_back(SecondsOf(work));
    const double after = ProbePeakFor(context, peak, seconds.back());
    round_trips.push_back(ProbeRoundTripNs(context));
    peaks.push_back(std::max(before, after));
    fractions.push_back(gflop / seconds.back() / peaks.back());
    Check(fractions.back() <= 1.0, ErrorCode::kNumeric,
          "bench: {:.1f} GFLOP/s lies above the measured peak of {:.1f}; the machine was "
          "disturbed, run again",
          gflop / seconds.back(), peaks.back());
    before = after;
  }
  BenchTimes times;
  times.seconds = Median(seconds);
  times.seconds_min = *std::min_element(seconds.begin(), seconds.end());
  times.gflop = gflop;
  times.peak_gflops = Median(peaks);
  times.fraction = Median(fractions);
  times.round_trip_ns = Median(round_trips);
  return times;
}

std::string DescribeMachine(const Context& context, const BenchTimes& times) {
  if (times.round_trip_ns == 0.0) return context.Describe();
  return fmt::format("{}; {:.0f} ns from core to core and back", context.Describe(),
                     times.round_trip_ns);
}

}  // namespace longspan
