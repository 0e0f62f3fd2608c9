// Compares cached generation with the forward pass over the whole text. Local layers give the same
// values. LSH layers see other neighbours.
#pragma once

#include <cstdint>
#include <span>

#include "families/reformer/reformer.h"
#include "longspan/inspect.h"

namespace longspan {

// kUsage unless 1 <= prompt <= tokens - 2: what CompareDecoding asks of them.
void CheckDecoding(idx_t prompt, idx_t tokens);

// Decodes ids (T) from `prompt` tokens on, the text's own tokens one by one, and compares the
// logits at positions prompt .. T-2 with those of one forward pass over all T. kUsage unless 1 <=
// prompt <= T - 2 and the model has T positions.
DecodeAgreement CompareDecoding(Context& context, const Reformer& model,
                                std::span<const std::int32_t> ids, idx_t prompt);

}  // namespace longspan
