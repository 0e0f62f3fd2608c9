// What `longspan info` says of every kind of model, and all it says of a Longformer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/tensor_source.h"

namespace longspan::cli {

// "name          value".
std::string InfoLine(std::string_view name, const std::string& value);

// Adds "weight_bytes" and, when `list`, "tensors".
void AddTensors(const io::TensorSource& source, bool list, nlohmann::ordered_json* j);

// A line for each of the "tensors".
std::string TensorLines(const nlohmann::ordered_json& j);

// The text, or the JSON document, for a Longformer's directory.
std::string LongformerInfo(const std::string& directory, bool json, bool tensors);

}  // namespace longspan::cli
