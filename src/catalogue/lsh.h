// What pictures ask of LSH attention.
#pragma once

#include <cstdint>
#include <vector>

#include "catalogue/pattern.h"

namespace longspan::catalogue {

// What LSH attention does with tokens that point in a few directions.
struct LshPattern {
  std::vector<std::uint16_t> buckets;  // (R, T)
  std::vector<std::int32_t> order;     // (R, T): the tokens of each round, sorted
  std::vector<float> weights;          // (T, T)
  std::vector<int> meetings;           // (T, T): rounds in which the query sees the key
};
LshPattern LshWeights(Context& context, const PatternOptions& options);

}  // namespace longspan::catalogue
