// Held-out loss of a model on a text of any length.
#pragma once

#include <span>

#include "families/reformer/reformer.h"
#include "longspan/evaluate.h"
#include "train/eval_hooks.h"
#include "train/token_stream.h"

namespace longspan {

// Windows of `tokens` tokens advance by `stride` (0: half a window). In each window after the first
// only the last `stride` tokens count, so every token but the first is predicted once. Windows run
// in batches of hooks.batch_tokens. Sums are in window order. bits_per_byte assumes that
// tokens are bytes.
EvalResult EvaluateTokens(Context& context, const Reformer& model, const TokenIds& ids,
                          idx_t tokens, idx_t stride, const EvalHooks& hooks = {});
// The same for the bytes of a text, without a copy of the bytes as ids.
EvalResult EvaluateText(Context& context, const Reformer& model, std::span<const std::uint8_t> text,
                        idx_t tokens, idx_t stride, const EvalHooks& hooks = {});

// Means over what was predicted, which must be something (kUsage).
EvalResult ResultOf(const HeadLoss& total);

// Throws unless the model is a language model with an id for each of `vocabulary` (kFormat) and has
// positions for `tokens` (kUsage).
void CheckLanguageModel(const ReformerConfig& config, idx_t vocabulary, idx_t tokens);

}  // namespace longspan
