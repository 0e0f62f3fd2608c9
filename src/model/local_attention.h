// The weights of a local attention layer as views, shared by training and decoding.
#pragma once

#include <string>

#include "longspan/attention.h"
#include "model/parameters.h"
#include "model/reformer_config.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

struct LocalAttentionWeights {
  LayerNormWeights norm;
  View<const float, 2> qkv;     // (3A, C): query, key and value lie one after another
  View<const float, 2> output;  // (C, A)
};

LocalAttentionWeights LocalWeights(const ReformerConfig& config, const std::string& prefix,
                                   ParameterTable& parameters);

// What the config says of every local layer.
ChunkedSpec LocalSpec(const ReformerConfig& config);

}  // namespace longspan
