// Continuing texts: sampling, several at once, and beam search.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "generate/generative_model.h"
#include "generate/sampling.h"
#include "longspan/context.h"

namespace longspan {

// True if a text ends after these tokens, which are all that was written for it: stop strings.
using StopRule = std::function<bool(std::span<const std::int32_t> written)>;

struct TokenGeneration {
  SamplingOptions sampling;
  idx_t tokens = 200;                // to write
  idx_t context = 0;                 // most tokens the model looks back on; 0: all positions it has
  std::vector<std::int32_t> banned;  // never drawn
  std::vector<std::int32_t> ends;    // end a text as the config's eos_token_id does
  StopRule stop;                     // none: only `tokens` and the end of text end a text
  std::uint64_t first_text = 0;      // number of the first text, for its draws
  bool cache = true;                 // false: the forward pass over the whole text for every token
};

struct Continuation {
  std::vector<std::int32_t> tokens;  // the new ones, without end of text
  Ending ending = Ending::kTokens;
  double score = 0.0;  // of beam search: sum of log-probabilities / tokens^length_penalty
};

// Continues several prompts side by side. on_token(text, id), which may be empty, gets each new
// token. A text ends where it returns false, at the stop rule, or at an end of text, which is not
// passed on. A prompt longer than options.context is cut to its end. A text that outgrows the
// context continues from its last half. kUsage if a prompt is empty or, without options.context,
// longer than the positions. Token i of a text is drawn from (seed, index of the text, i): the same
// for any threads and other texts.
std::vector<Continuation> GenerateTexts(
    Context& context, const GenerativeModel& model,
    std::span<const std::vector<std::int32_t>> prompts, const TokenGeneration& options,
    const std::function<bool(std::size_t text, std::int32_t id)>& on_token);

// Returns the most likely continuations of a beam search, best first, at most `beams`. Uses tokens,
// banned, stop, cache and the repetition penalty (on log-probabilities) of the options. Nothing is
// drawn. It is Hugging Face's search with early_stopping false. A step has 2 beams candidates:
// those that end a text and are among the first `beams` are kept, the others continue. It ends if
// the best one that continues scores no better than the worst kept, or at options.tokens. kUsage as
// Generate, and if prompt and tokens exceed the model's positions or the context.
std::vector<Continuation> BeamSearch(Context& context, const GenerativeModel& model,
                                     std::span<const std::int32_t> prompt,
                                     const TokenGeneration& options, const BeamOptions& beam);

// Checks the options that both share. Throws kUsage.
void CheckGeneration(const GenerativeModel& model, std::size_t prompt,
                     const TokenGeneration& options);
// The tokens that a decoder has room for: prompt and new ones, at most the context or else all
// positions.
idx_t RoomFor(const GenerativeModel& model, std::size_t prompt, const TokenGeneration& options);
// Whether a token is the end of a text, by the model or by the options.
bool EndsText(const GenerativeModel& model, const TokenGeneration& options, std::int32_t id);
// Scores of tokens that are never drawn become -inf.
void Ban(std::span<const std::int32_t> banned, std::span<float> scores);

}  // namespace longspan
