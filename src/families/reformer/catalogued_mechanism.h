// Attention layers of any mechanism of the catalogue (catalogue/mechanism.h) that has a form on
// queries, keys and values of their own.
#pragma once

#include <memory>

#include "families/reformer/attention_mechanism.h"
#include "families/reformer/reformer_config.h"

namespace longspan {

// Whether attn_layers may name it: a mechanism with a forward and a backward in fp32.
bool IsCatalogued(std::string_view name);
// "local, lsh, full, window or chunked": what attn_layers may name.
std::string LayerKindNames();

// Its settings follow from the config's local layers: chunks as those have them, windows as wide as
// their chunk. bf16 tensors are converted if the mechanism knows fp32 only. Projections are query,
// key, value.
std::unique_ptr<AttentionMechanism> MakeCataloguedMechanism(const ReformerConfig& config,
                                                            LayerKind kind);

}  // namespace longspan
