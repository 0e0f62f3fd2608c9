#include "model/model_files.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/escape.h"

namespace longspan {
namespace {

constexpr std::size_t kMostListed = 10;
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

// One line per parameter that cannot be read.
std::vector<std::string> Problems(const io::TensorSource& source, const ParameterTable& table) {
  std::vector<std::string> problems;
  for (const ParameterInfo& info : table.list()) {
    const std::string name = NameIn(source, info.name);
    if (name.empty()) {
      problems.push_back(fmt::format("{} is missing", info.name));
    } else if (source.Info(name).shape != info.shape) {
      problems.push_back(fmt::format("{} has shape {}, the config needs {}", info.name,
                                     ShapeText(source.Info(name).shape), ShapeText(info.shape)));
    }
  }
  return problems;
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
  ParameterTable& table = model.parameters();
  const std::vector<std::string> problems = Problems(source, table);
  if (!problems.empty()) {
    std::string list;
    for (std::size_t i = 0; i < std::min(problems.size(), kMostListed); ++i) {
      list += (i == 0 ? "" : "; ") + problems[i];
    }
    Fail(ErrorCode::kFormat, "{}: {} tensor{} do not fit config.json: {}{}", source.source(),
         problems.size(), problems.size() == 1 ? "" : "s", list,
         problems.size() > kMostListed ? "; ..." : "");
  }
  const auto non_finite = options.allow_nonfinite ? io::NonFinite::kAllow : io::NonFinite::kRefuse;
  for (const ParameterInfo& info : table.list()) {
    const View<float, 1> values = table.vector(info.name);
    source.ReadFloatInto(NameIn(source, info.name),
                         {values.data, static_cast<std::size_t>(values.size())}, non_finite);
  }
  if (warnings == nullptr) return;
  warnings->insert(warnings->end(), source.warnings().begin(), source.warnings().end());
  for (const auto& [name, info] : source.tensors()) {
    if (table.contains(name) || name == kBiasAlias || IsLegacyConstant(name)) continue;
    warnings->push_back(
        fmt::format("{}: tensor '{}' is not part of the model", source.source(), io::Escape(name)));
  }
}

Reformer LoadReformer(const std::filesystem::path& directory, const LoadOptions& options,
                      std::vector<std::string>* warnings) {
  ReformerConfig config = LoadReformerConfig(directory);
  const auto source = io::OpenModel(directory);
  // The file's size bounds what a config may ask for, before anything is allocated.
  std::uint64_t elements = 0;
  for (const auto& [name, info] : source->tensors())
    elements += static_cast<std::uint64_t>(info.size);
  const std::uint64_t needed = ParameterCount(config);
  Check(needed <= elements, ErrorCode::kFormat,
        "{}: the weights hold {} numbers, config.json needs {}", source->source(), elements,
        needed);
  ApplyOptions(options, &config);
  Reformer model(std::move(config));
  ReadWeights(*source, options, model, warnings);
  return model;
}

std::vector<io::TensorEntry> WeightEntries(Reformer& model) {
  std::vector<io::TensorEntry> entries;
  for (const ParameterInfo& info : model.parameters().list()) {
    entries.push_back(
        {info.name, DType::kF32, info.shape, model.parameters().vector(info.name).data});
  }
  return entries;
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
