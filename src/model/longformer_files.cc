#include "model/longformer_files.h"

#include "io/atomic_file.h"
#include "io/escape.h"
#include "io/json.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

constexpr std::string_view kPrefix = "longformer.";
constexpr std::string_view kBias = "lm_head.bias", kBiasAlias = "lm_head.decoder.bias";
constexpr std::string_view kWords = "embeddings.word_embeddings.weight";
constexpr std::string_view kDecoder = "lm_head.decoder.weight";

bool HasPrefix(std::string_view name) { return name.substr(0, kPrefix.size()) == kPrefix; }
std::string_view Bare(std::string_view name) {
  return HasPrefix(name) ? name.substr(kPrefix.size()) : name;
}

std::string NameIn(const io::TensorSource& source, const std::string& name) {
  if (source.Has(name)) return name;
  const std::string other = HasPrefix(name) ? std::string(Bare(name)) : std::string(kPrefix) + name;
  if (source.Has(other)) return other;
  // Of tied parameters a file may hold either.
  if (name == kBias && source.Has(kBiasAlias)) return std::string(kBiasAlias);
  if (Bare(name) == kWords && source.Has(kDecoder)) return std::string(kDecoder);
  return {};
}

// Copies of tied parameters, and constants that old files carry.
bool Ignored(std::string_view name) {
  return name == kBiasAlias || name == kDecoder || Bare(name) == "embeddings.position_ids";
}

}  // namespace

WeightNames LongformerWeightNames() { return {NameIn, Ignored}; }

Longformer LoadLongformer(const std::filesystem::path& directory, const LongformerLoad& options,
                          std::vector<std::string>* warnings) {
  LongformerConfig config = LoadLongformerConfig(directory);
  std::vector<std::string> dropped;
  const auto source = WithCanonicalNames(io::OpenModel(directory), &dropped);
  if (warnings != nullptr) {
    for (const std::string& name : dropped) {
      warnings->push_back("no part of a Longformer, left out: " + io::Escape(name));
    }
  }
  config.pooler = !NameIn(*source, "pooler.dense.weight").empty();
  CheckFileHolds(*source, ParameterCount(config));
  Longformer model(std::move(config));
  ReadParameters(*source, LongformerWeightNames(),
                 options.allow_nonfinite ? io::NonFinite::kAllow : io::NonFinite::kRefuse,
                 model.parameters(), warnings);
  return model;
}

void SaveLongformer(Longformer& model, const std::filesystem::path& directory) {
  io::EnsureWritableDirectory(directory);
  io::WriteFileAtomic(directory / "config.json", ToJson(model.config()));
  io::WriteSafetensors(directory / "model.safetensors", WeightEntries(model.parameters()),
                       {{"format", "pt"}});
}

std::string ModelType(const std::filesystem::path& config_file) {
  const nlohmann::json object = io::ReadJsonFile(config_file);
  return object.is_object()
             ? io::GetString(object, "model_type", "reformer", io::Escape(config_file.string()))
             : "reformer";
}

}  // namespace longspan
