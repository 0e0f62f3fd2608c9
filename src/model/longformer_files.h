// A Longformer's folder in the Hugging Face layout: config.json and the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "model/longformer.h"
#include "model/wanted_head.h"

namespace longspan {

struct LongformerLoad {
  bool allow_nonfinite = false;
  std::optional<double> dropout;   // instead of the config's two
  std::optional<WantedHead> head;  // absent: the config's, all of it from the files
};

// Reads config.json and the weights, under any name of CanonicalName; a bare model may come without
// a pooler, and gets none. kFormat lists tensors that do not fit; extra tensors become one line
// each in `warnings`.
//
// With options.head the model has that head, as `from_pretrained` of another class gives it. Head
// tensors that the files hold under the same name and shape are taken; those of a head over labels
// only when the files have the same labels. The others are drawn as Initialise(seed) draws them,
// and one warning "new: ..." names them; one "left out: ..." names what of the files has no place.
Longformer LoadLongformer(const std::filesystem::path& directory,
                          const LongformerLoad& options = {},
                          std::vector<std::string>* warnings = nullptr);

// The config as the weights beside it complete it: a bare model without a pooler's tensors has
// none.
LongformerConfig LongformerConfigOf(const std::filesystem::path& directory);

// CheckUnread of a folder whose weights are not loaded.
void CheckLongformerTensors(const std::filesystem::path& directory);

// The tensors of the model's file, for io::WriteSafetensors. An untied decoder's bias has both of
// its names. The entries point into the model.
std::vector<io::TensorEntry> LongformerEntries(Longformer& model);

// Writes config.json and model.safetensors, each atomically, the weights last. The directory is
// created when it is missing.
void SaveLongformer(Longformer& model, const std::filesystem::path& directory);

// The model_type of a config.json (ModelTypeIn); "reformer" when nothing in it says. kFormat, kIo.
std::string ModelType(const std::filesystem::path& config_file);

}  // namespace longspan
