// The probabilities of a Longformer's attention, to look at: computed from what an observer sees,
// without dropout.
#pragma once

#include "families/longformer/longformer_attention.h"
#include "longspan/context.h"

namespace longspan {

// Hugging Face's `attentions` of a layer: (B, H, T, G + W + 1), W = left + right. Of query i, slot
// g is the row's g-th global key, slot G + left + n the key i + n. Rows of hidden and of global
// tokens are zero, as are slots without a key and those of global keys inside of the window.
Tensor LocalProbabilities(Context& context, const LongformerAttentionTensors& t);

// Hugging Face's `global_attentions` of a layer: (B, H, padded, G), the key's axis first. There the
// text was padded to `padded` >= T keys, which have probability 0; slots that a row does not use
// hold 1 / padded for every key, as in the original.
Tensor GlobalProbabilities(Context& context, const LongformerAttentionTensors& t, idx_t padded);

}  // namespace longspan
