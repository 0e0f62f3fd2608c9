// Attention over documents that stand side by side in the rows of a batch, with any mechanism.
#pragma once

#include <span>

#include "families/reformer/attention_mechanism.h"

namespace longspan {

// Run `mechanism` on whole rows or, if there are documents (their lengths over all rows, in order),
// on each document as if it were a row of its own: with dropout masks and a state of its own. The
// key is that of the rows. Exact for every mechanism. They cost one call a row if the mechanism
// TakesTexts; else one call a document, so that documents shorter than a few chunks keep few
// threads busy.
void ForwardByDocument(Context& context, const AttentionMechanism& mechanism,
                       std::span<const idx_t> documents, const MechanismCall& call,
                       const AnyAttentionTensors& tensors);
void BackwardByDocument(Context& context, const AttentionMechanism& mechanism,
                        std::span<const idx_t> documents, const MechanismCall& call,
                        const AnyAttentionTensors& tensors, const View<float, 2>& dprojected);

}  // namespace longspan
