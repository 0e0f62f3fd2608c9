// Causal chunked attention for one new token, its keys and values being kept from before.
#pragma once

#include "longspan/attention.h"

namespace longspan {

// The first position whose key the query at `position` sees: the start of the chunk `before` chunks
// earlier. Keys before it are never needed again.
idx_t ChunkedFirstKey(const ChunkedSpec& spec, idx_t position);

// out (H, D) = attention of q (H, D) at `position` over k, v (H, T, D), rows [first key, position]
// of T > position; equal to that row of a causal ChunkedForward over any text that starts so.
// Cost 4 D flop per visible key and head. spec.causal must be set, spec.after 0, no dropout.
void ChunkedDecode(Context& context, const ChunkedSpec& spec, idx_t position,
                   const View<const float, 2>& q, const View<const float, 3>& k,
                   const View<const float, 3>& v, const View<float, 2>& out);

}  // namespace longspan
