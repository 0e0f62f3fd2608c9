// Reads the files of a CrossEncoder of sentence-transformers beside a model.
#pragma once

#include <filesystem>
#include <string>

#include "tasks/activations.h"
#include "tasks/sentence_folder.h"

namespace longspan {

struct CrossEncoderFolder {
  TransformerSettings transformer;
  std::string prompt;                           // before the first text of a pair
  const TorchActivation* activation = nullptr;  // of the one logit
};

// config.json, config_sentence_transformers.json and modules.json, as far as they are there. The
// activation is the first of activation_fn in config_sentence_transformers.json,
// sentence_transformers.activation_fn in config.json, and sbert_ce_default_activation_function
// there, as older versions wrote it; otherwise Sigmoid. An empty path has none of them, and neither
// has a model of vectors (a Transformer with Pooling and Normalize), whose files say nothing of
// pairs. kFormat for what cannot be followed: other modules, an unknown activation.
CrossEncoderFolder ReadCrossEncoderFolder(const std::filesystem::path& directory);

}  // namespace longspan
