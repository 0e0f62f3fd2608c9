// The choice of the next token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/rng.h"
#include "longspan/sampling.h"

namespace longspan {

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
