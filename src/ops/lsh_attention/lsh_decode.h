// One more token behind a text whose queries, values and buckets are kept: generation.
#pragma once

#include "longspan/attention.h"

namespace longspan {

// out (H, D) = row `position` of LshForward over tokens 0 .. position: the new token sees what it
// would see in the forward pass over the text so far, given the same buckets. (Rows of earlier
// tokens would change as the text grows and the borders of chunks move; they are not asked again.)
// qk, v (H, capacity, D), buckets (H, R, capacity): the new token's are in place. position + 1
// tokens of at most one chunk: all of them are seen, buckets are not read.
// Needs a causal spec without look-ahead and dropout, else kUsage.
// Cost: R (position + buckets) steps of a counting sort and 4 D R W flop per head.
void LshDecode(Context& context, const LshSpec& spec, idx_t position,
               const View<const float, 3>& qk, const View<const float, 3>& v,
               const View<const std::uint16_t, 3>& buckets, const View<float, 2>& out);

}  // namespace longspan
