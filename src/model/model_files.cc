#include "model/model_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "model/weight_files.h"

namespace longspan {
namespace {

constexpr idx_t kMostRounds = 1024;

// Old files call the output bias by its alias.
constexpr std::string_view kBias = "lm_head.bias", kBiasAlias = "lm_head.decoder.bias";

// The name under which `source` holds a parameter; empty when it does not.
std::string NameIn(const io::TensorSource& source, const std::string& name) {
  if (source.Has(name)) return name;
  if (name == kBias && source.Has(kBiasAlias)) return std::string(kBiasAlias);
  return {};
}

// Constants that files of 2020 still carry: no parameters.
bool IsLegacyConstant(std::string_view name) {
  return name.find("self_mask_value_") != name.npos || name.find(".mask_value_") != name.npos;
}

WeightNames Names() {
  return {NameIn,
          [](std::string_view name) { return name == kBiasAlias || IsLegacyConstant(name); }};
}

}  // namespace

void ApplyOptions(const LoadOptions& options, ReformerConfig* config) {
  if (options.dropout) {
    config->hidden_dropout = config->local_dropout = config->lsh_dropout = *options.dropout;
  }
  if (!options.attention.empty()) ChooseAttention(options.attention, config);
  if (options.num_hashes == 0) return;
  Check(options.num_hashes >= 1 && options.num_hashes <= kMostRounds, ErrorCode::kUsage,
        "num-hashes: {} is not from 1 to {}", options.num_hashes, kMostRounds);
  const bool hashes = config->attention == AttentionChoice::kConfigured &&
                      std::count(config->layers.begin(), config->layers.end(), LayerKind::kLsh) > 0;
  Check(hashes, ErrorCode::kUsage,
        "num-hashes: {} rounds are asked for, but no layer hashes; need 'lsh' in attn_layers and "
        "attention 'config'",
        options.num_hashes);
  config->num_hashes = options.num_hashes;
}

void ReadWeights(const io::TensorSource& source, const LoadOptions& options, Reformer& model,
                 std::vector<std::string>* warnings) {
  const auto non_finite = options.allow_nonfinite ? io::NonFinite::kAllow : io::NonFinite::kRefuse;
  const auto unread = ReadParameters(source, Names(), non_finite, model.parameters());
  if (warnings != nullptr) AddWarnings(source, unread, warnings);
}

Reformer LoadReformer(const std::filesystem::path& directory, const LoadOptions& options,
                      std::vector<std::string>* warnings) {
  ReformerConfig config = LoadReformerConfig(directory);
  const auto source = io::OpenModel(directory);
  CheckFileHolds(*source, ParameterCount(config));
  ApplyOptions(options, &config);
  Reformer model(std::move(config));
  ReadWeights(*source, options, model, warnings);
  return model;
}

std::vector<io::TensorEntry> WeightEntries(Reformer& model) {
  return WeightEntries(model.parameters());
}

void SaveReformer(Reformer& model, const std::filesystem::path& directory) {
  io::EnsureWritableDirectory(directory);
  const ReformerConfig& config = model.config();
  nlohmann::json generation;
  generation["eos_token_id"] = config.eos_token;
  generation["pad_token_id"] = config.pad_token;
  io::WriteFileAtomic(directory / "config.json", ToJson(config));
  io::WriteFileAtomic(directory / "generation_config.json", generation.dump(2) + "\n");
  io::WriteSafetensors(directory / "model.safetensors", WeightEntries(model), {{"format", "pt"}});
}

}  // namespace longspan
