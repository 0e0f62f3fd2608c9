// Continuing texts with a causal language model: drawing, several texts at once, beam search.
//
// One rule for everybody: ids that stand for no text (padding, the unknown token, other special
// tokens, ids beyond the tokenizer's) are never written, the end of text of the tokenizer or of the
// model's config ends a text, and so does a stop string, which is no part of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/context.h"
#include "longspan/model.h"
#include "longspan/sampling.h"

#pragma GCC visibility push(default)
namespace longspan {

// How texts are continued.
struct GenerateOptions {
  SamplingOptions sampling;        // how each token is drawn
  idx_t tokens = 200;              // to write at most
  idx_t context = 0;               // tokens that are looked back on at most; 0: all positions
  std::vector<std::string> stops;  // strings before which a text ends
  bool cache = true;               // false: the forward pass over the whole text for every token
  idx_t batch = 8;                 // prompts that run side by side
};

// One continued text.
struct GeneratedText {
  std::string text;                  // the new part, without stop string; any bytes of a byte model
  std::vector<std::int32_t> tokens;  // the new ones, without end of text
  idx_t prompt_tokens = 0;           // of the prompt
  Ending ending = Ending::kTokens;   // why it ended
  double score = 0.0;  // of beam search: sum of log-probabilities / tokens^length_penalty
};

// Gets what can be shown since its last call for a prompt: whole characters that no stop string can
// take back. Called on the thread that generates, as soon as a token is drawn, and once more at the
// text's end with what was held back. `prompt` is the index of the text. False ends that text.
using OnText = std::function<bool(std::size_t prompt, std::string_view piece)>;

// Continues each prompt. Token i of a text is drawn from (seed, index of the prompt, i): the same
// for any number of threads, and whatever the other prompts are. A prompt longer than
// options.context is cut to its end; a text that outgrows the context continues from its last half.
// kFormat unless the model is a causal language model with a tokenizer; kUsage for options out of
// range, an empty prompt and, without options.context, one longer than the positions; kNumeric for
// logits that are not finite; kLimit, kCancelled.
std::vector<GeneratedText> Generate(Context& context, const Model& model,
                                    std::span<const std::string> prompts,
                                    const GenerateOptions& options = {},
                                    const OnText& on_text = {});
// The same of one prompt; `on_piece` as OnText.
GeneratedText Generate(Context& context, const Model& model, const std::string& prompt,
                       const GenerateOptions& options = {},
                       const std::function<bool(std::string_view piece)>& on_piece = {});

// The most likely continuations of a beam search, best first: at least one, at most beam.beams.
// Nothing is drawn: of the sampling options only the repetition penalty counts, on
// log-probabilities. It is Hugging Face's search with early_stopping false. Errors as Generate, and
// kUsage if prompt and tokens exceed the positions or the context.
std::vector<GeneratedText> SearchBeams(Context& context, const Model& model,
                                       const std::string& prompt, const GenerateOptions& options,
                                       const BeamOptions& beam);

// Throws kUsage for options that no model and no prompt make right, so that they are refused before
// a model is loaded. Generate and SearchBeams check them too.
void CheckGenerateOptions(const GenerateOptions& options);

// The ids of a prompt: its own tokens, no special ones. kFormat for a text without a token.
std::vector<std::int32_t> EncodePrompt(const text::Tokenizer& tokenizer, std::string_view prompt);
// Throws what Generate would throw for this prompt before it computes.
void CheckGenerates(const Model& model, std::span<const std::int32_t> prompt,
                    const GenerateOptions& options);

}  // namespace longspan
#pragma GCC visibility pop
