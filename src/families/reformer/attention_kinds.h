// The kinds of attention layers of a Reformer: one row of a table for each.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "families/reformer/attention_mechanism.h"
#include "families/reformer/reformer_config.h"

namespace longspan {

struct AttentionKind {
  LayerKind kind;
  // The projections' names in weight files, in the order of their rows.
  std::span<const std::string_view> projections;
  bool shares_keys;                 // queries serve as keys: the projections are query-key, value
  double ReformerConfig::*dropout;  // of the attention's probabilities
  std::unique_ptr<AttentionMechanism> (*make)(const ReformerConfig& config, LayerKind kind);
};

// The row of a kind. Mechanisms of the catalogue share one. kUsage for one that there is not.
AttentionKind AttentionKindOf(LayerKind kind);

}  // namespace longspan
