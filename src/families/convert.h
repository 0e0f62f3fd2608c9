// Rewrites and converts models of other people: into safetensors, and into another family.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "model/conversion.h"

namespace longspan {

// Asked about a model's folder before it appears under its name; `channels` is the model's width.
// What it throws is a warning: the weights are good, and others may read the rest.
using FolderCheck = std::function<void(const std::filesystem::path& folder, idx_t channels)>;

// Writes `out`, a folder that is not there yet, complete or not at all: the model in `in` as one of
// the family `type`, by ModelFamily::convert. What was written is opened, model and tokenizer,
// before `out` appears. kUsage for a family that nothing becomes.
ConvertReport ConvertTo(std::string_view type, const std::filesystem::path& in,
                        const std::filesystem::path& out, const ConvertOptions& options,
                        const FolderCheck& check = {});

// The same model with its weights as safetensors, in shards: from a folder
// in any form that io::OpenModel reads, or from a single file of weights. Types and bits stay; of
// tied tensors that share their memory one is kept. Names stay too, unless the family has newer
// ones. A config.json that leaves class or labels open gets them written out. Opened and errors as
// above.
ConvertReport RewriteModel(const std::filesystem::path& in, const std::filesystem::path& out,
                           const ConvertOptions& options, const FolderCheck& check = {});

}  // namespace longspan
