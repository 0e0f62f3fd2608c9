// Attention probabilities to look at, from what attention saves.
#pragma once

#include <cmath>

#include "longspan/types.h"

namespace longspan {

// exp(q . k / sqrt(D) - lse), q and k D wide.
inline float AttentionProbability(const float* q, const float* k, idx_t width, float lse) {
  double score = 0.0;
  for (idx_t d = 0; d < width; ++d) score += static_cast<double>(q[d]) * static_cast<double>(k[d]);
  score /= std::sqrt(static_cast<double>(width));
  return static_cast<float>(std::exp(score - static_cast<double>(lse)));
}

}  // namespace longspan
