// A Longformer's folder in the Hugging Face layout: config.json and the weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "model/longformer.h"
#include "model/weight_files.h"

namespace longspan {

struct LongformerLoad {
  bool allow_nonfinite = false;
};

// Reads config.json and the weights. The encoder's names may have the prefix "longformer." or none,
// whatever the head; a bare model may come without a pooler, and gets none. kFormat lists tensors
// that do not fit; extra tensors become one line each in `warnings`.
Longformer LoadLongformer(const std::filesystem::path& directory,
                          const LongformerLoad& options = {},
                          std::vector<std::string>* warnings = nullptr);

// How files call a Longformer's parameters.
WeightNames LongformerWeightNames();

// Writes config.json and model.safetensors, each atomically, the weights last. The directory is
// created when it is missing.
void SaveLongformer(Longformer& model, const std::filesystem::path& directory);

// The model_type of a config.json; "reformer" when it names none. kFormat, kIo.
std::string ModelType(const std::filesystem::path& config_file);

}  // namespace longspan
