// The head of a Reformer.
#pragma once

#include <memory>

#include "families/reformer/reformer_config.h"
#include "model/head_layer.h"

namespace longspan {

// Registers the head's parameters. Null for a bare model. Its rows are LayerNorm(y1 ++ y2), 2C
// wide.
std::unique_ptr<HeadLayer> MakeReformerHead(const ReformerConfig& config,
                                            ParameterTable& parameters);

}  // namespace longspan
