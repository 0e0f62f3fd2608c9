// The weights of a feed-forward layer as views, shared by training and decoding.
#pragma once

#include <string>

#include "model/parameters.h"
#include "model/reformer_config.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

struct FeedForwardLayerWeights {
  LayerNormWeights norm;
  FeedForwardWeights block;
};

FeedForwardLayerWeights FeedForwardLayer(const ReformerConfig& config, const std::string& prefix,
                                         const ParameterTable& parameters);

}  // namespace longspan
