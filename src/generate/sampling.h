// The choice of the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"

namespace longspan {

struct SamplingOptions {
  double temperature = 0.8;  // 0: always the most likely token
  idx_t top_k = 0;           // only the k most likely; 0: all
  double top_p = 1.0;        // only the most likely that together reach p
  std::uint64_t seed = 1;
  // Above 1: tokens that the text has already become less likely (Keskar et al. 2019; Hugging
  // Face's rule): a positive score is divided by it, a negative one multiplied.
  double repetition_penalty = 1.0;
};

// Throws kUsage naming the option that is out of range.
void CheckSampling(const SamplingOptions& options);

// Draws a token from logits (V). Tokens with an equal logit rank by id, the lower first. The
// repetition penalty is not applied here.
// Throws kUsage on options out of range, kNumeric when a logit is not finite.
std::int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, Rng& rng);

// scores[id] / penalty or * penalty, once for each id that occurs in `ids`. Ids beyond the scores
// are left out. `seen` is scratch: it grows to the scores' size and is left all false.
void PenaliseRepetition(std::span<const std::int32_t> ids, double penalty, std::vector<bool>* seen,
                        std::span<float> scores);

}  // namespace longspan
