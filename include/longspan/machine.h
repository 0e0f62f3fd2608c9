// What this machine can do at most and what is free of it, measured: the yardstick of every
// benchmark.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "longspan/context.h"

#pragma GCC visibility push(default)
namespace longspan {

// Measured with all threads of the context. flop = 2 per multiply-add.
struct Peaks {
  double fp32_gflops = 0.0;  // independent FMA chains in registers
  double bf16_gflops = 0.0;  // the bf16 dot-product instruction; equal to fp32_gflops without one
  double memory_gb_per_s = 0.0;      // triad over arrays beyond the last cache, bytes moved
  double core_ghz = 0.0;             // clock estimated from a chain of dependent integer adds
  double fp32_flop_per_cycle = 0.0;  // fp32_gflops / threads / core_ghz
  // A probe whose accumulators spill reads half of the truth: flop per cycle must lie near a
  // whole number of FMA pipes times the vector width. False also when the machine was disturbed.
  bool plausible = false;
  std::string note;  // one line: what was expected, what was seen
};

// About half a second.
Peaks ProbePeaks(Context& context);
// The fp32 and the bf16 part alone, GFLOP/s of all threads: the best of runs of a millisecond in
// about so many seconds.
double ProbeFp32Gflops(Context& context, double seconds = 0.05);
double ProbeBf16Gflops(Context& context, double seconds = 0.05);

// Nanoseconds in which a line of the cache goes from the first thread's core to another one and
// back: of up to 15 others the farthest. Some 50 to 100 within a last-level cache; several hundred
// between two of them, where work that shares data among threads is slower. 0 for one thread, or
// where the threads never ran at once. A millisecond or two for each of the others.
double ProbeRoundTripNs(Context& context);

// "fp32 198.3 GFLOP/s (31.0 flop/cycle a core at 3.20 GHz), bf16 ..., memory ...": for reports.
std::string Describe(const Peaks& peaks);

// Peak resident memory of this process in bytes (VmHWM), and resetting it to what is resident now.
idx_t PeakRssBytes();
void ResetPeakRss();

// Bytes that the system could give this process without swapping, by MemAvailable and the limit of
// its control group (memory.max); 0 where it does not say.
idx_t AvailableMemoryBytes();

// Seconds of one run of `work`, and the median of so many runs.
double SecondsOf(const std::function<void()>& work);
double MedianSeconds(idx_t repetitions, const std::function<void()>& work);
double Median(std::vector<double> values);  // of at least one

// How busy other processes keep the machine: what a measurement of time has to be judged by.
// Measures from its construction on. It looks at the cores that this process may run on
// (sched_getaffinity), whose busy time /proc/stat has in ticks of some 10 ms: a tenth of a second
// is too short. Time that a hypervisor gave to other machines counts as busy.
class OtherProcesses {
 public:
  OtherProcesses();

  // The cores that others kept busy, as a mean since the construction: from 0 to cores(). 0 where
  // the system does not tell.
  double BusyCores() const;
  int cores() const { return static_cast<int>(cpus_.size()); }

 private:
  std::vector<int> cpus_;      // that this process may run on
  double begin_, busy_, own_;  // seconds: clock, busy time of the cores, time of this process
};

// "2.7.3": of the oneDNN that multiplies dense matrices, as it was loaded.
std::string OneDnnVersion();

}  // namespace longspan
#pragma GCC visibility pop
