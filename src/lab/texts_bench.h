// What `bench attention --texts` runs: many texts of different lengths, in one call and in one call
// a text.
#pragma once

#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/types.h"

namespace longspan {

struct TextsBenchOptions {
  std::string kind = "window";  // or full
  idx_t texts = 512;
  idx_t heads = 12, head_size = 64;
  idx_t window = 256;  // keys on each side
  bool causal = false;
  bool bf16 = false;      // q, k, v, out and dout
  bool backward = true;   // forward and backward, else forward
  idx_t repetitions = 5;  // of either way, in turn
};

struct TextsBenchTimes {
  idx_t texts = 0, tokens = 0;         // tokens of all texts
  idx_t shortest = 0, longest = 0;     // tokens of a text
  double together = 0.0, apart = 0.0;  // seconds: medians
  double ratio = 0.0;                  // median of the turns' own apart / together
  double ratio_min = 0.0, ratio_max = 0.0;
  double gflop = 0.0;        // useful work
  double peak_gflops = 0.0;  // all threads, beside the turns
  double largest_error = 0.0;
};

// Lengths from 20 to 4,000 tokens: log-normal with the median 200 and the deviation e^1.1, cut at
// both ends. The same for the same number.
std::vector<idx_t> BenchTextLengths(idx_t texts);

// Compares both ways with each other, then times them in turn. kUsage for a kind that takes no
// texts and for sizes out of range, kLimit before it takes memory that there is not, kNumeric when
// the two differ by more than rounding explains.
TextsBenchTimes TimeTexts(Context& context, const TextsBenchOptions& options);

}  // namespace longspan
