// What `bench attention` and `bench bf16` run: a problem of the catalogue, with the words of the
// command line for what cannot be run and for what came out wrong.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "catalogue/mechanism.h"

namespace longspan {

// Throws kUsage for a kind that there is not, for sizes out of range and for bf16 where a kind
// knows fp32 only, and kLimit before it takes memory that there is not.
std::unique_ptr<catalogue::AttentionProblem> MakeBenchProblem(
    const std::string& kind, const catalogue::ProblemOptions& options);

// Runs the passes and compares 64 random query rows and as many key rows, outputs and gradients,
// with double. Returns the largest relative error of a row (L2). kNumeric when it is larger than
// rounding explains.
double CheckBenchRows(Context& context, catalogue::AttentionProblem& problem, bool backward,
                      bool bf16);

// Writes the problem's tensors, outputs and gradients into a .safetensors file. kIo.
void SaveTensors(const std::string& file, const catalogue::AttentionProblem& problem);

// The ways to multiply bf16 in attention that this machine has, the one that the rule takes, and
// the time of window attention of `tokens` tokens on each, forward and backward.
struct Bf16PathTime {
  std::string path;  // "widen", "pairs"
  double seconds = 0.0;
  bool chosen = false;
};
std::vector<Bf16PathTime> TimeBf16Paths(Context& context, idx_t tokens, idx_t steps);

}  // namespace longspan
