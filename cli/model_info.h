// What `longspan info` says of every kind of model, and of what is none.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "io/tensor_source.h"
#include "model/opened_folder.h"

namespace longspan::cli {

// "name          value".
std::string InfoLine(std::string_view name, const std::string& value);

// Adds "weight_bytes" and, when `list`, "tensors".
void AddTensors(const io::TensorSource& source, bool list, nlohmann::ordered_json* j);

// How many labels, and the names of the first: "3: lease, loan, other".
std::string LabelsText(const nlohmann::ordered_json& labels);

// A line for each of the "tensors".
std::string TensorLines(const nlohmann::ordered_json& j);

// Adds what is true of any model's directory: whether it is a checkpoint or sentence-transformers',
// what is odd about its labels ("notes"), what it is for and the command to ask it ("next").
void AddContext(const ModelFolder& model, std::unique_ptr<io::TensorSource> tensors,
                nlohmann::ordered_json* j);
std::string ContextLines(const nlohmann::ordered_json& j);

// What is said of a path that is no model to run: what it is, what to do. kIo where there is
// nothing.
nlohmann::ordered_json OtherJson(const std::string& path, bool tensors);
std::string OtherText(const nlohmann::ordered_json& j);

}  // namespace longspan::cli
