// How the next token of a text is chosen, and why texts end.
#pragma once

#include <cstdint>

#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan {

// How the next token is drawn.
struct SamplingOptions {
  double temperature = 0.8;  // 0: always the most likely token
  idx_t top_k = 0;           // only the k most likely; 0: all
  double top_p = 1.0;        // only the most likely that together reach p
  std::uint64_t seed = 1;    // of the random numbers
  // Above 1: tokens that the text has already become less likely (Keskar et al. 2019; Hugging
  // Face's rule): a positive score is divided by it, a negative one multiplied.
  double repetition_penalty = 1.0;
};

// How wide a beam search is.
struct BeamOptions {
  idx_t beams = 4;  // continuations that are followed at once
  // Exponent of the length in a score. 0: sum of log-probabilities, favours short texts. 1: mean.
  double length_penalty = 1.0;
};

// Throws kUsage for what no search takes. SearchBeams (generate.h) checks it too.
void CheckBeamOptions(const BeamOptions& beam);

// Why a text ended: it has all tokens that were wanted, the model ended it, it met a stop string,
// or the caller ended it.
enum class Ending { kTokens, kEndOfText, kStopRule, kCaller };
const char* EndingName(Ending ending);  // "length", "end-of-text", "stop", "caller"

}  // namespace longspan
#pragma GCC visibility pop
