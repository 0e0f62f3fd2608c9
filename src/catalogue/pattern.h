// Which query sees which key, found by running the kernels themselves: what pictures are made of.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "catalogue/spec.h"
#include "longspan/context.h"

namespace longspan::catalogue {

struct Mechanism;

// Everything that a picture may be asked for; a mechanism uses some of it.
struct PatternOptions {
  idx_t tokens = 32;
  idx_t pad_left = 0, pad_right = 0;  // tokens of padding: keys that do not exist
  bool causal = true;
  idx_t chunk = 8, before = 1, after = 0;
  bool shared = false;  // full attention with shared queries and keys
  idx_t rounds = 2, buckets = 4;
  std::uint64_t seed = 3;  // of the tokens and rotations that are hashed
  idx_t window = 4;        // one-sided, in steps of the dilation
  // Absent: the kind's own choice.
  std::optional<idx_t> dilation;
  std::optional<idx_t> globals;  // the first tokens that exist are global
  std::vector<idx_t> global_at;  // and these
};

// The mechanism's settings. Which tokens are global is left to the picture.
MechanismSpec PatternSpec(const PatternOptions& options);

// Throws kUsage when the number of tokens or their padding cannot be drawn.
void CheckPatternSize(const PatternOptions& options);

bool IsPadding(const PatternOptions& options, idx_t key);

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
