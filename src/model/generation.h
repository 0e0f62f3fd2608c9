// Continuing a text: the choice of the next token, and the loop.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/rng.h"
#include "model/reformer.h"

namespace longspan {

struct SamplingOptions {
  double temperature = 0.8;  // 0: always the most likely token
  idx_t top_k = 0;           // only the k most likely; 0: all
  double top_p = 1.0;        // only the most likely that together reach p
  std::uint64_t seed = 1;
};

// Throws kUsage naming the option that is out of range.
void CheckSampling(const SamplingOptions& options);

// Draws a token from logits (V). Tokens with an equal logit rank by id, the lower first.
// Throws kUsage on options out of range, kNumeric when a logit is not finite.
std::int32_t SampleToken(std::span<const float> logits, const SamplingOptions& options, Rng& rng);

struct GenerateOptions {
  SamplingOptions sampling;
  idx_t tokens = 200;                // to write
  idx_t context = 0;                 // most tokens the model looks back on; 0: all positions it has
  std::vector<std::int32_t> banned;  // never drawn
};

// Writes on_token(id) for each new token; stops early when it returns false or at `eos`.
// A text that outgrows the context goes on from its last half. Returns the tokens written.
idx_t Generate(Context& context, Reformer& model, std::span<const std::int32_t> prompt,
               const GenerateOptions& options, const std::function<bool(std::int32_t)>& on_token);

}  // namespace longspan
