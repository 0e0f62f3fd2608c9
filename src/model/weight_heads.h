// Finds the head of a folder's model from its weights, if config.json does not say it.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tensor_source.h"
#include "model/head_kind.h"

namespace longspan {

// The heads that the tensors of a file belong to, by names and shapes alone.
struct WeightHeads {
  bool language = false;  // lm_head.*
  bool question = false;  // qa_outputs.*
  bool pooler = false;
  idx_t dense_classes = 0;  // of a classifier with a layer before it: rows of classifier.out_proj
  idx_t classes = 0;        // of a classifier that is one layer: rows of classifier.weight
  bool transform = false;   // head.dense, which every head of a ModernBERT has

  bool any() const { return language || question || transform || dense_classes > 0 || classes > 0; }
};

// `source` under the names that files have; those of BERT and RoBERTa are known too.
WeightHeads HeadsIn(const io::TensorSource& source);
// Reads a folder's weights. Absent if it has none.
std::optional<WeightHeads> HeadsInFolder(const std::filesystem::path& folder);

// "architectures" as a list, whatever it is: a list, one text, null or absent. kFormat.
std::vector<std::string> Architectures(const nlohmann::json& object, std::string_view source);

// The heads of a kind of model.
struct HeadRules {
  std::string_view model;    // "Longformer": begins the names of its classes
  bool causal = false;       // its language model is a causal one
  bool masked = false;       // or, else, one of masked tokens
  bool bare_pooled = false;  // classes of sequences have a pooler and one layer (BERT)
  bool tokens = false;       // there are classes of tokens, and choices
  // All heads but that of a language model end in one layer named `classifier` behind head.dense:
  // what it classifies, the config has to say (ModernBERT).
  bool one_classifier = false;
};

// Whether config.json leaves something to its weights: which class the model is, or how many labels
// a class of labels has.
bool WeightsDecide(const nlohmann::json& object, std::string_view source);
// The weights beside a file of that name, if it leaves something to them: for the readers of
// config.json.
std::optional<WeightHeads> DecidingWeights(const nlohmann::json& object,
                                           const std::filesystem::path& config_file);

// The head of a model by its config.json. Exactly one class: its head. Of several the one whose
// head the weights have, of none the one that the weights have; without weights the first that is
// known, or `fallback`. kFormat, in one line, when that is none or more than one.
HeadKind ParseHead(const nlohmann::json& object, std::string_view source,
                   std::span<const HeadClass> known, const HeadRules& rules,
                   const std::optional<WeightHeads>& weights, HeadKind fallback);

}  // namespace longspan
