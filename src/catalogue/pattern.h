// Which query sees which key, found by running the kernels themselves: what pictures are made of.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "catalogue/spec.h"
#include "longspan/context.h"
#include "longspan/pattern.h"

namespace longspan::catalogue {

struct Mechanism;
using longspan::PatternOptions;

// The mechanism's settings. Which tokens are global is left to the picture.
MechanismSpec PatternSpec(const PatternOptions& options);

// The weight of key j for query i at [i * tokens + j]: the kernel's output for values that are
// one-hot, so that each output element is one weight. Queries and keys are zero, so that all
// visible keys weigh the same. For mechanisms with a separate form.
std::vector<float> SeparateWeights(Context& context, const Mechanism& mechanism,
                                   const PatternOptions& options);

// One head of `tokens` tokens with one-hot values, head size = tokens, as the kernels take it.
struct PatternProblem {
  explicit PatternProblem(const PatternOptions& options);
  View<const float, 4> Zeros() const { return {zeros.data(), shape}; }
  View<const float, 4> Values() const { return {values.data(), shape}; }
  View<float, 4> Out() { return {out.data(), shape}; }
  View<float, 3> Row(std::vector<float>& numbers) const {
    return {numbers.data(), {1, 1, shape[2]}};
  }
  KeyMask Mask() const;

  std::array<idx_t, 4> shape;
  std::vector<float> zeros, values, out, lse, max, sum;
  std::vector<std::uint8_t> exists;
  bool padded;
};

}  // namespace longspan::catalogue
