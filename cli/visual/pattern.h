// Which query sees which key, found by running the kernels themselves.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/visual/grid.h"
#include "longspan/context.h"

namespace longspan::cli {

// Everything that a kind of pattern may be asked for; a kind uses some of it.
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

// A mechanism that can be drawn. A new one is a new row in pattern.cc.
struct PatternKind {
  std::string_view name;                  // --kind
  std::string_view summary;               // for the help
  std::vector<std::string_view> options;  // the command line's options that it understands
  std::vector<GridGroup> (*groups)();     // that its panels' cells refer to
  std::vector<GridPanel> (*panels)(Context& context, const PatternOptions& options);
  std::vector<GridPanel> (*gallery)(Context& context);  // what is worth seeing without any option
  bool causal = true;                                   // unless the command line says otherwise
};
std::span<const PatternKind> PatternKinds();

// Not a mechanism of its own: one panel of each, beside each other.
inline constexpr std::string_view kOverviewKind = "overview";

// Throws kUsage and lists the kinds when there is none of that name.
const PatternKind& FindPatternKind(std::string_view name);

// The weights below are those of key j for query i at [i * tokens + j]: the kernel's output for
// values that are one-hot, so that each output element is one weight. They throw kUsage on sizes
// out of range.

// Queries and keys are zero, so that all visible keys weigh the same.
std::vector<float> ChunkedWeights(Context& context, const PatternOptions& options);
std::vector<float> FullWeights(Context& context, const PatternOptions& options);

// Both kinds of rows, those of local and those of global tokens; hidden tokens' rows are 0.
std::vector<float> WindowWeights(Context& context, const PatternOptions& options);
// What each token is, (T): the roles of include/longspan/attention.h. Throws kUsage on global
// tokens that do not exist.
std::vector<std::uint8_t> WindowRoles(const PatternOptions& options);

// What LSH attention does with tokens that point in a few directions: their buckets (R, T), the
// order of each round (R, T) and the weights.
struct LshPattern {
  std::vector<std::uint16_t> buckets;
  std::vector<std::int32_t> order;
  std::vector<float> weights;
};
LshPattern LshWeights(Context& context, const PatternOptions& options);

}  // namespace longspan::cli
