// Converts a BERT or RoBERTa to a Longformer: the same weights with more positions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "longspan/types.h"

namespace longspan {

inline constexpr std::uint64_t kShardBytes = 5'000'000'000;

struct ToLongformerOptions {
  idx_t max_tokens = 4096;  // N: what a text may have
  idx_t window = 256;       // W: keys to each side of a token; attention_window is 2 W
  std::uint64_t most_bytes = kShardBytes;  // of a shard
};

// Asked about a model's folder before it appears under its name; `channels` is the model's width.
// What it throws is a warning: the weights are good, and others may read the rest.
using FolderCheck = std::function<void(const std::filesystem::path& folder, idx_t channels)>;

struct ConvertReport {
  std::string from, to;     // classes: "RobertaForMaskedLM", "LongformerForMaskedLM"
  idx_t old_tokens = 0;     // what a text could have before
  std::uint64_t bytes = 0;  // of tensors
  std::size_t tensors = 0, shards = 0;
  std::vector<std::string> copied;    // files beside the weights
  std::vector<std::string> warnings;  // one line each
};

// Writes `out`, a folder that is not there yet, from a folder of Hugging Face's BertFor... or
// RobertaFor... classes; complete or not at all. With every token in the window and no global
// token, or all global attention on rows that see everything, its outputs are the original's.
//
// - Positions: a Longformer's first token has row pad + 1. RoBERTa's tables begin there too, and
//   their rows 0 to pad are kept; BERT's begin at row 0, and rows 0 to pad become zero (no token
//   that counts reads them). The old rows follow one another until N are there.
// - query, key and value are also the global projections.
// - BERT's sequence classifier has its pooler as the classifier's dense layer.
// - Tokenizer files and sentence-transformers' folders come along, with the new longest text.
//
// What was written is opened, model and tokenizer, before `out` appears. kUsage for options that do
// not fit or an `out` that is there; kFormat for another kind of model or tensors that do not fit
// its config; kIo.
ConvertReport ToLongformer(const std::filesystem::path& in, const std::filesystem::path& out,
                           const ToLongformerOptions& options, const FolderCheck& check = {});

// The same model with its weights as safetensors, in shards of at most `most_bytes`: from a folder
// in any form that io::OpenModel reads, or from a single file of weights. Names, types and bits
// stay; of tied tensors that share their memory one is kept. Longformers get the names of this
// version of Hugging Face's classes, and a config.json that leaves class or labels open gets them
// written out. Opened and errors as above.
ConvertReport RewriteModel(const std::filesystem::path& in, const std::filesystem::path& out,
                           std::uint64_t most_bytes, const FolderCheck& check = {});

}  // namespace longspan
