// Table look-up: token ids to vectors.
#pragma once

#include <span>

#include "longspan/context.h"
#include "longspan/tensor.h"

namespace longspan {

// out (T, C) = table[ids[t]], table (V, C). Throws kFormat naming position and id when an id is
// outside [0, V).
void EmbeddingForward(Context& context, std::span<const std::int32_t> ids,
                      const View<const float, 2>& table, const View<float, 2>& out);

// dtable (V, C) += dout (T, C) row by row, in token order for any number of threads.
void EmbeddingBackward(Context& context, std::span<const std::int32_t> ids,
                       const View<const float, 2>& dout, const View<float, 2>& dtable);

}  // namespace longspan
