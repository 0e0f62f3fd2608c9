// The fields of a ModernBERT's config.json about rotary embeddings: rope_parameters of each kind of
// layer, and what `transformers` 4 had instead (global_rope_theta, local_rope_theta, rope_scaling).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "ops/rotary/rotary_frequencies.h"

namespace longspan {

// Reads them for heads of D = `head_size` channels. `full` and `window` hold the default thetas.
// An entry's max_positions is not set. kFormat names `source`, the field, its value and its range.
void ParseRotaryFields(const nlohmann::json& object, std::string_view source, idx_t head_size,
                       idx_t max_positions, RotarySpec* full, RotarySpec* window);
// Writes rope_parameters and both thetas.
void WriteRotaryFields(const RotarySpec& full, const RotarySpec& window, nlohmann::json* object);

// "yarn".
std::string_view RotaryKindName(RotaryKind kind);
// "theta 160000, yarn with factor 4": what `info` says of one kind of layer.
std::string RotaryText(const RotarySpec& spec);

}  // namespace longspan
