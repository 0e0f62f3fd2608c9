// A Longformer's folder in the Hugging Face layout: config.json and the weights.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "families/longformer/longformer.h"
#include "io/safetensors.h"
#include "model/load_options.h"
#include "model/opened_folder.h"

namespace longspan {

// Reads config.json and the weights, under any name of CanonicalName; a bare model may come without
// a pooler, and gets none. LoadWeights (model/weight_files.h) says what is read, drawn and warned
// about. A wanted head is put as `from_pretrained` of another class does.
Longformer LoadLongformer(const ModelFolder& folder, const LoadOptions& options = {},
                          std::vector<std::string>* warnings = nullptr);

// The config as the weights beside it complete it: a bare model without a pooler's tensors has
// none.
LongformerConfig LongformerConfigOf(const ModelFolder& folder);

// CheckUnread of a folder whose weights are not loaded.
void CheckLongformerTensors(const ModelFolder& folder);

// The tensors of the model's file, for io::WriteSafetensors. An untied decoder's bias has both of
// its names. The entries point into the model.
std::vector<io::TensorEntry> LongformerEntries(const Longformer& model);

// Writes config.json and model.safetensors, each atomically, the weights last. The directory is
// created when it is missing.
void SaveLongformer(const Longformer& model, const std::filesystem::path& directory);

// The names of this version of Hugging Face's classes for the tensors of a Longformer's folder
// (ModelFamily::names_to_write). A pooler that the class does not have is left out, with a warning.
std::map<std::string, std::string> LongformerNamesToWrite(const std::filesystem::path& in,
                                                          const io::TensorSource& source,
                                                          std::string_view class_name,
                                                          std::vector<std::string>* warnings);

}  // namespace longspan
