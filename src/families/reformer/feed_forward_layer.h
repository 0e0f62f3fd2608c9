// The feed-forward layer of a Reformer: LayerNorm, then a block of two products.
#pragma once

#include <memory>
#include <string>

#include "families/reformer/reformer_config.h"
#include "families/reformer/residual_branch.h"
#include "model/parameters.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/layer_norm/layer_norm.h"

namespace longspan {

// Registers its parameters below `prefix` ("...layers.0.feed_forward.").
std::unique_ptr<ResidualBranch> MakeFeedForward(const ReformerConfig& config,
                                                const std::string& prefix,
                                                ParameterTable& parameters);

// A layer's weights as views, shared by training and decoding.
struct FeedForwardLayerWeights {
  LayerNormWeights norm;
  FeedForwardWeights block;
};
FeedForwardLayerWeights FeedForwardLayer(const ReformerConfig& config, const std::string& prefix,
                                         const ParameterTable& parameters);

}  // namespace longspan
