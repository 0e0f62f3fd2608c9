// Which query sees which key, found by running the kernels themselves: what pictures are made of.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"

#pragma GCC visibility push(default)
namespace longspan {

// Everything that a picture may be asked for; a mechanism uses some of it.
struct PatternOptions {
  idx_t tokens = 32;                  // of the text, T
  idx_t pad_left = 0, pad_right = 0;  // tokens of padding: keys that do not exist
  bool causal = true;
  idx_t chunk = 8;                // tokens of a chunk
  idx_t before = 1, after = 0;    // chunks that are seen around the own one
  bool shared = false;            // full attention with shared queries and keys
  idx_t rounds = 2, buckets = 4;  // of hashing; how many buckets
  std::uint64_t seed = 3;         // of the tokens and rotations that are hashed
  idx_t window = 4;               // one-sided, in steps of the dilation
  // Absent: the kind's own choice.
  std::optional<idx_t> dilation;
  std::optional<idx_t> globals;  // the first tokens that exist are global
  std::vector<idx_t> global_at;  // and these
};

// An attention mechanism, as commands name it and its options: "--chunk".
struct MechanismInfo {
  std::string name, summary;         // as options name it; one line
  std::vector<std::string> options;  // those of its own that a picture understands
};
// All mechanisms, in the order of the help.
std::vector<MechanismInfo> ListMechanisms();

// The weight of key j for query i at [i * tokens + j], in one head of a mechanism, found by running
// its kernel with queries and keys of zero: all visible keys of a row weigh the same. kUsage for an
// unknown name and for sizes out of range.
std::vector<float> PatternWeights(Context& context, std::string_view mechanism,
                                  const PatternOptions& options);

// What LSH attention does with tokens that point in a few directions.
struct LshPattern {
  std::vector<std::uint16_t> buckets;  // (R, T)
  std::vector<std::int32_t> order;     // (R, T): the tokens of each round, sorted
  std::vector<float> weights;          // (T, T)
  std::vector<int> meetings;           // (T, T): rounds in which the query sees the key
};
LshPattern LshPatternOf(Context& context, const PatternOptions& options);

// What each token is in window attention, (T): the roles of longspan/attention.h. kUsage on global
// tokens that do not exist.
std::vector<std::uint8_t> WindowRoles(const PatternOptions& options);

// Throws kUsage when the number of tokens or their padding cannot be drawn.
void CheckPatternSize(const PatternOptions& options);
bool IsPadding(const PatternOptions& options, idx_t key);

}  // namespace longspan
#pragma GCC visibility pop
