// The head of a Longformer.
#pragma once

#include <memory>
#include <string>

#include "families/longformer/longformer_config.h"
#include "model/head_layer.h"

namespace longspan {

// Registers the head's parameters. Null for a bare model. `encoder_prefix` begins the encoder's
// names ("longformer.").
std::unique_ptr<HeadLayer> MakeLongformerHead(const LongformerConfig& config,
                                              const std::string& encoder_prefix,
                                              ParameterTable& parameters);

}  // namespace longspan
