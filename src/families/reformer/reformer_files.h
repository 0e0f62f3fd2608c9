// A Reformer's folder in the Hugging Face layout: config.json and the weights.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "families/reformer/reformer.h"
#include "io/safetensors.h"
#include "model/load_options.h"
#include "model/opened_folder.h"

namespace longspan {

// The options that only a Reformer has:
//   attention      a name for ChooseAttention
//   num-hashes     rounds of LSH layers
//   lm-bias        true or false: whether a language model's bias takes part
//   rotation-seed  of evaluation
//   strict         true: Reformer::SetStrict
inline constexpr FamilyOption kReformerOptions[] = {
    {"attention", "attention of all layers: full, local, full-lsh, lsh or config"},
    {"num-hashes", "hash rounds of LSH layers"},
    {"lm-bias", "whether a language model's bias takes part"},
    {"rotation-seed", "seed of the rotations in evaluation"},
    {"strict", "refuses and pads what transformers refuses and pads"},
};
// Changes the config as the options say. kUsage names the option that does not fit the model.
void ApplyOptions(const FamilyOptions& options, ReformerConfig* config);
// Replaces every dropout of the config.
void SetDropout(double dropout, ReformerConfig* config);

// Gives the config the head that is wanted. A language model is causal then; a model with another
// head that it did not have is not, because a causal one's first token sees nothing of the text.
// Returns false if the files' head is over other labels.
bool PutHead(const WantedHead& wanted, ReformerConfig* config);

// Reads config.json and the weights. LoadWeights (model/weight_files.h) says what is read, drawn
// and warned about. Files of a bare model fill the encoder of one with a head, and the other way
// round.
Reformer LoadReformer(const ModelFolder& folder, const LoadOptions& options = {},
                      std::vector<std::string>* warnings = nullptr);

// CheckUnread of a folder whose weights are not loaded.
void CheckReformerTensors(const ModelFolder& folder);

// The tensors as the files hold them, on the model's own memory.
std::vector<io::TensorEntry> WeightEntries(const Reformer& model);

// Writes config.json, generation_config.json and model.safetensors, each atomically, the weights
// last. The directory is created when it is missing.
void SaveReformer(const Reformer& model, const std::filesystem::path& directory);

}  // namespace longspan
