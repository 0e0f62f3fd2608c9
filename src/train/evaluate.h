// Held-out loss of a model on a text of any length.
#pragma once

#include <span>

#include "longspan/train.h"
#include "model/reformer.h"

namespace longspan {

// Windows of `tokens` bytes advance by `stride`; of each window behind the first only the last
// `stride` bytes count, so every byte but the first is predicted once. Windows go through the model
// in batches of about `batch_tokens` tokens. Sums in window order.
EvalResult EvaluateText(Context& context, Reformer& model, std::span<const std::uint8_t> text,
                        idx_t tokens, idx_t stride, idx_t batch_tokens = 8192);

// Throws unless the model predicts bytes (kFormat) and has positions for `tokens` (kUsage).
void CheckByteLanguageModel(const ReformerConfig& config, idx_t tokens);

}  // namespace longspan
