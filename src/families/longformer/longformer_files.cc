#include "families/longformer/longformer_files.h"

#include <algorithm>
#include <utility>

#include "io/atomic_file.h"
#include "model/weight_files.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

constexpr std::string_view kEncoder = "longformer.";
constexpr std::string_view kPooler = "longformer.pooler.";
constexpr std::string_view kBias = "lm_head.bias", kBiasAlias = "lm_head.decoder.bias";
constexpr const char* kPoolerWeight = "longformer.pooler.dense.weight";

std::string NameIn(const io::TensorSource& source, const std::string& name) {
  const std::string canonical = CanonicalName(name).value_or(name);
  if (source.Has(canonical)) return canonical;
  // An untied decoder's bias is its own; files from before it was hold the other name alone.
  if (canonical == kBiasAlias && source.Has(kBias)) return std::string(kBias);
  return {};
}

bool OfHead(std::string_view name) {
  return !name.starts_with(kEncoder) || name.starts_with(kPooler);
}

// True for parameters of a known head. Under another head they may be left out.
bool OfKnownHead(std::string_view name) {
  for (const std::string_view begin :
       {kPooler, std::string_view("lm_head."), std::string_view("classifier."),
        std::string_view("qa_outputs."), std::string_view("cls.")}) {
    if (name.starts_with(begin)) return true;
  }
  return false;
}

// Under another head the weights have to hold an encoder; what they lack of the head is drawn.
std::uint64_t NeededNumbers(LongformerConfig config, bool any_head) {
  if (any_head) {
    config.head = HeadKind::kNone;
    config.pooler = false;
  }
  return ParameterCount(config);
}

// A folder's weights under canonical names.
std::unique_ptr<io::TensorSource> OpenCanonical(const std::filesystem::path& directory,
                                                std::vector<std::string>* notes = nullptr,
                                                std::vector<std::string>* dropped = nullptr) {
  return WithCanonicalNames(WithoutExtraPrefix(io::OpenModel(directory), notes), dropped);
}

// Copies of tied parameters, and the other name of an untied decoder's bias.
auto IgnoredIn(const ParameterTable& table) {
  return [both = table.contains(kBiasAlias)](std::string_view name) {
    return TiedTo(name).has_value() || (name == kBias && both);
  };
}

WeightRules RulesFor(const ParameterTable& table) {
  return {{NameIn, IgnoredIn(table)}, OfHead, OfKnownHead};
}

}  // namespace

void CheckLongformerTensors(const ModelFolder& folder) {
  LongformerConfig config = LoadLongformerConfig(folder);
  std::vector<std::string> dropped;
  const auto source = OpenCanonical(folder.directory, nullptr, &dropped);
  config.pooler = !NameIn(*source, kPoolerWeight).empty();
  const Longformer model(std::move(config), ParameterMemory::kBorrowed);
  std::vector<std::string> unread =
      UnreadTensors(*source, RulesFor(model.parameters()).names, model.parameters());
  unread.insert(unread.end(), dropped.begin(), dropped.end());
  CheckUnread(*source, unread);
}

LongformerConfig LongformerConfigOf(const ModelFolder& folder) {
  LongformerConfig config = LoadLongformerConfig(folder);
  config.pooler = !NameIn(*OpenCanonical(folder.directory), kPoolerWeight).empty();
  return config;
}

Longformer LoadLongformer(const ModelFolder& folder, const LoadOptions& options,
                          std::vector<std::string>* warnings) {
  LongformerConfig config = LoadLongformerConfig(folder);
  for (const auto& [name, value] : options.family.values()) RefuseOption("Longformer", name);
  std::vector<std::string> dropped, notes = config.notes;
  const auto source = OpenCanonical(folder.directory, &notes, &dropped);
  config.pooler = !NameIn(*source, kPoolerWeight).empty();
  if (options.dropout) config.hidden_dropout = config.attention_dropout = *options.dropout;
  CheckFileHolds(*source, NeededNumbers(config, options.head.has_value()));
  const OpenedWeights files{*source, std::move(notes), {}, std::move(dropped), config.custom_code};
  const bool take = !options.head || config.Put(*options.head);
  Longformer model(std::move(config));
  LoadWeights(
      folder.directory, files, RulesFor(model.parameters()), options, take, model.parameters(),
      [&](std::uint64_t seed, const auto& which) { model.Initialise(seed, which); }, warnings);
  return model;
}

std::vector<io::TensorEntry> LongformerEntries(const Longformer& model) {
  std::vector<io::TensorEntry> entries = WeightEntries(model.parameters());
  // `transformers` looks for both names: one is used by its 4.x, the other from 5 on.
  if (model.parameters().contains(kBiasAlias)) AddAlias(kBiasAlias, kBias, &entries);
  return entries;
}

void SaveLongformer(const Longformer& model, const std::filesystem::path& directory) {
  io::EnsureWritableDirectory(directory);
  io::WriteFileAtomic(directory / "config.json", ToJson(model.config()));
  io::WriteSafetensors(directory / "model.safetensors", LongformerEntries(model),
                       {{"format", "pt"}});
}

}  // namespace longspan
