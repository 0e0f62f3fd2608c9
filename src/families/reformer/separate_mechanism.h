// Attention with a query, a key and a value of their own: Reformer's local layers, and the same
// weights over the whole text.
#pragma once

#include <memory>

#include "families/reformer/attention_mechanism.h"
#include "families/reformer/reformer_config.h"

namespace longspan {

// Chunks of the text, or full attention, as config.attention says. Projections are query, key,
// value.
std::unique_ptr<AttentionMechanism> MakeSeparateMechanism(const ReformerConfig& config,
                                                          LayerKind kind);

// The spec of the config's local layers.
ChunkedSpec LocalSpec(const ReformerConfig& config);

}  // namespace longspan
