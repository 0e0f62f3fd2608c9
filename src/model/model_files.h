// A model folder in the Hugging Face layout: config.json and model.safetensors.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "model/reformer.h"
#include "model/wanted_head.h"

namespace longspan {

struct LoadOptions {
  bool allow_nonfinite = false;
  std::optional<double> dropout;   // instead of every dropout of the config
  std::string attention;           // a name for ChooseAttention; empty: the config's choice
  idx_t num_hashes = 0;            // rounds of LSH layers instead of the config's; 0: the config's
  std::optional<bool> lm_bias;     // instead of the config's
  bool strict = false;             // Reformer::SetStrict
  std::optional<WantedHead> head;  // absent: the config's, all of it from the files
};

// Changes the config as the options say. kUsage names the option that does not fit the model.
void ApplyOptions(const LoadOptions& options, ReformerConfig* config);

// Reads config.json and the weights. kFormat lists up to ten tensors that are missing or have
// another shape; extra tensors become one line each in `warnings`. Files of a bare model fill the
// encoder of one with a head, and the other way round.
//
// With options.head the model has that head. A language model is causal then, a model with another
// head that it did not have is not: a causal one's first token sees nothing of the text.
// Head tensors that the files hold under the same name and shape are taken, those over labels only
// when the files have the same labels; the others are drawn as Initialise(seed) draws them, and one
// warning "new: ..." names them; one "left out: ..." names what of the files has no place, one
// "changed: ..." what of the config is another.
Reformer LoadReformer(const std::filesystem::path& directory, const LoadOptions& options = {},
                      std::vector<std::string>* warnings = nullptr);

// CheckUnread of a folder whose weights are not loaded.
void CheckReformerTensors(const std::filesystem::path& directory);

// The tensors as the files hold them, on the model's own memory.
std::vector<io::TensorEntry> WeightEntries(Reformer& model);

// Fills the model's parameters from `source`.
void ReadWeights(const io::TensorSource& source, const LoadOptions& options, Reformer& model,
                 std::vector<std::string>* warnings);

// Writes config.json, generation_config.json and model.safetensors, each atomically, the weights
// last. The directory is created when it is missing.
void SaveReformer(Reformer& model, const std::filesystem::path& directory);

}  // namespace longspan
