// A ModernBERT's folder in the Hugging Face layout: config.json and the weights.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "families/modernbert/modernbert.h"
#include "io/safetensors.h"
#include "model/load_options.h"
#include "model/opened_folder.h"

namespace longspan {

// Applies options that only this family has: `attention`, which is full or config. kUsage for
// others.
void ApplyModernBertOptions(const FamilyOptions& options, ModernBertConfig* config);

// Reads config.json and the weights. The encoder's names may begin with "model." or not, whatever
// the class. Of a tied decoder a file may hold either matrix; both with different values are two
// matrices, as the original has it. LoadWeights (model/weight_files.h) says what is read, drawn and
// warned about. A wanted head is put as `from_pretrained` of another class does.
ModernBert LoadModernBert(const ModelFolder& folder, const LoadOptions& options = {},
                          std::vector<std::string>* warnings = nullptr);
// CheckUnread of a folder whose weights are not loaded.
void CheckModernBertTensors(const ModelFolder& folder);

// The tensors of the model's file, for io::WriteSafetensors: a tied decoder is not repeated. The
// entries point into the model.
std::vector<io::TensorEntry> ModernBertEntries(const ModernBert& model);

// Writes config.json and model.safetensors, each atomically, the weights last. The directory is
// created when it is missing.
void SaveModernBert(const ModernBert& model, const std::filesystem::path& directory);

// ModelFamily::names_to_write.
std::map<std::string, std::string> ModernBertNamesToWrite(const std::filesystem::path& in,
                                                          const io::TensorSource& source,
                                                          std::string_view class_name,
                                                          std::vector<std::string>* warnings);

}  // namespace longspan
