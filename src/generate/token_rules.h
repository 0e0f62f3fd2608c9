// Which tokens are never written, and which end a text: one rule for the program and the library.
#pragma once

#include "generate/generation.h"
#include "longspan/tokenizer.h"

namespace longspan {

// Adds to options.banned the ids that stand for no text: padding, the unknown token, other special
// tokens, and ids of the model's `vocabulary` that the tokenizer does not have. The tokenizer's end
// of text may be drawn; it goes to options.ends.
void FollowTokenizer(const text::Tokenizer& tokenizer, idx_t vocabulary, TokenGeneration* options);

}  // namespace longspan
