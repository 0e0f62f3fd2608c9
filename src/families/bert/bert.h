// BERT (Devlin et al. 2018) and RoBERTa (Liu et al. 2019) as Hugging Face has them: embeddings,
// layers of full attention, a head (model/post_norm_encoder.h). docs/reference/bert.md tells what
// differs from the original and why.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "families/bert/bert_attention.h"
#include "families/bert/bert_config.h"
#include "io/tensor_source.h"
#include "model/load_options.h"
#include "model/opened_folder.h"
#include "model/post_norm_encoder.h"

namespace longspan {

struct BertKind {
  using Config = BertConfig;
  using Attention = BertAttention;
  static std::string_view Class(const BertConfig& config, HeadKind head) {
    return ClassOf(config.type->heads, head);
  }
  static std::string Prefix(const BertConfig& config) { return std::string(config.type->prefix); }
  static std::unique_ptr<HeadLayer> MakeHead(const BertConfig& config, const std::string& prefix,
                                             ParameterTable& parameters);
  // 4 D (with the backward 14 D) for each pair of a query and a key that it sees.
  static double AttentionFlop(const BertConfig& config, const BatchView& batch,
                              std::size_t backward_from);
};

extern template class PostNormEncoder<BertKind>;
using Bert = PostNormEncoder<BertKind>;

// Reads config.json and the weights (model/post_norm_files.h).
Bert LoadBert(const ModelFolder& folder, const LoadOptions& options = {},
              std::vector<std::string>* warnings = nullptr);
// The config as the weights beside it complete it.
BertConfig BertConfigOf(const ModelFolder& folder);
// CheckUnread of a folder whose weights are not loaded.
void CheckBertTensors(const ModelFolder& folder);
void SaveBert(const Bert& model, const std::filesystem::path& directory);
// ModelFamily::names_to_write.
std::map<std::string, std::string> BertNamesToWrite(const std::filesystem::path& in,
                                                    const io::TensorSource& source,
                                                    std::string_view class_name,
                                                    std::vector<std::string>* warnings);

}  // namespace longspan
