// The head of a ModernBERT, made of the heads of all models (model/heads.h).
#pragma once

#include <memory>

#include "families/modernbert/modernbert_config.h"
#include "model/head_layer.h"

namespace longspan {

// Registers the head's parameters after the encoder's, whose word table is `words`. Null for a bare
// model.
std::unique_ptr<HeadLayer> MakeModernBertHead(const ModernBertConfig& config, ParameterId words,
                                              ParameterTable& parameters);

}  // namespace longspan
