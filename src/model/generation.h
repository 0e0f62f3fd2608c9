// Continuing texts: sampling, several at once, and beam search.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "model/reformer.h"
#include "model/sampling.h"

namespace longspan {

// Whether a text ends behind these tokens, all that was written for it: stop strings.
using StopRule = std::function<bool(std::span<const std::int32_t> written)>;

struct GenerateOptions {
  SamplingOptions sampling;
  idx_t tokens = 200;                // to write
  idx_t context = 0;                 // most tokens the model looks back on; 0: all positions it has
  std::vector<std::int32_t> banned;  // never drawn
  std::vector<std::int32_t> ends;    // end a text as the config's eos_token_id does
  StopRule stop;                     // none: only `tokens` and the end of text end a text
  std::uint64_t first_text = 0;      // number of the first text, for its draws
  bool cache = true;                 // false: the forward pass over the whole text for every token
};

// Writes on_token(id) for each new token; stops early when it returns false, at the stop rule or
// at an end of text, which is not handed out. A prompt longer than options.context is cut to its
// end; a text that outgrows the context goes on from its last half. Returns the tokens written.
// kUsage when the prompt is empty or, without options.context, longer than the model's positions.
// Token i of a text is drawn from (seed, number of the text, i): the same for any threads, with and
// without other texts.
idx_t Generate(Context& context, Reformer& model, std::span<const std::int32_t> prompt,
               const GenerateOptions& options, const std::function<bool(std::int32_t)>& on_token);

enum class Ending { kTokens, kEndOfText, kStopRule, kCaller };
const char* EndingName(Ending ending);  // "length", "end-of-text", "stop", "caller"

struct Continuation {
  std::vector<std::int32_t> tokens;  // the new ones, without end of text
  Ending ending = Ending::kTokens;
  double score = 0.0;  // of beam search: sum of log-probabilities / tokens^length_penalty
};

// Several prompts side by side, each as Generate has it; on_token(text, id) may be empty, and ends
// that text where it returns false.
std::vector<Continuation> GenerateTexts(
    Context& context, Reformer& model, std::span<const std::vector<std::int32_t>> prompts,
    const GenerateOptions& options,
    const std::function<bool(std::size_t text, std::int32_t id)>& on_token);

struct BeamOptions {
  idx_t beams = 4;  // continuations that are followed at once
  // Of a text's score: 0 sums log-probabilities, which favours short ones; 1 is the mean.
  double length_penalty = 1.0;
};

// The likeliest continuations that a beam search finds, best first, at most `beams`. Of options:
// tokens, banned, stop, cache and the repetition penalty (on log-probabilities); nothing is drawn.
// Hugging Face's search with early_stopping false: of the 2 beams best candidates of a step those
// that end a text and are among the first `beams` are kept, the others go on; it ends when the best
// one that goes on scores no better than the worst kept, or at options.tokens.
// kUsage as Generate, and when prompt and tokens exceed the model's positions or the context.
std::vector<Continuation> BeamSearch(Context& context, Reformer& model,
                                     std::span<const std::int32_t> prompt,
                                     const GenerateOptions& options, const BeamOptions& beam);

// What both check of options that they share; kUsage.
void CheckGeneration(const ReformerConfig& config, std::size_t prompt,
                     const GenerateOptions& options);
// Whether a token is the end of a text.
bool EndsText(const ReformerConfig& config, const GenerateOptions& options, std::int32_t id);
// Scores of tokens that are never drawn become -inf.
void Ban(std::span<const std::int32_t> banned, std::span<float> scores);

}  // namespace longspan
