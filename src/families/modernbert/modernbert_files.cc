#include "families/modernbert/modernbert_files.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "longspan/files.h"
#include "model/weight_files.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

constexpr std::string_view kPrefix = "model.";
constexpr std::string_view kDecoder = "decoder.weight";
constexpr std::string_view kTokenMatrix = "embeddings.tok_embeddings.weight";

// "model.layers.0..." -> "layers.0...": the encoder's names without their prefix.
std::string_view WithoutPrefix(std::string_view name) {
  return name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

bool OfModernBertHead(std::string_view name) {
  return name.starts_with("head.") || name.starts_with("decoder.") ||
         name.starts_with("classifier.");
}

// The name under which the file has a parameter of the encoder or of a head.
std::string PlainNameIn(const io::TensorSource& source, std::string_view name) {
  if (source.Has(name)) return std::string(name);
  if (OfModernBertHead(name)) return {};
  const std::string bare(WithoutPrefix(name)), prefixed = std::string(kPrefix) + bare;
  if (source.Has(bare)) return bare;
  return source.Has(prefixed) ? prefixed : std::string();
}

std::string ModernBertNameIn(const io::TensorSource& source, const std::string& name) {
  std::string found = PlainNameIn(source, name);
  // A tied decoder's matrix is the word table, and may be all that the file has of it.
  if (found.empty() && WithoutPrefix(name) == kTokenMatrix && source.Has(kDecoder)) {
    found = std::string(kDecoder);
  }
  return found;
}

// What LoadModernBert and its check untie. A wanted head of another kind has no decoder.
void Untie(const io::TensorSource& source, const LoadOptions& options, ModernBertConfig* config,
           std::vector<std::string>* notes) {
  if (config->head != HeadKind::kMaskedLm) return;
  if (options.head && options.head->head != HeadKind::kMaskedLm) return;
  const std::string words = PlainNameIn(source, kTokenMatrix);
  UntieWhereFilesDiffer(source, {words, kDecoder, kDecoder}, &config->tied, notes);
}

// The transform before the last layer is the same in all heads: it stays whatever they are over,
// and is drawn only where the files have none.
WeightRules ModernBertRules(const ParameterTable& table, const io::TensorSource& source) {
  const auto ignored = [own = table.contains(kDecoder)](std::string_view name) {
    return name == kDecoder && !own;
  };
  const auto of_head = [&source](std::string_view name) {
    return OfModernBertHead(name) && !(name.starts_with("head.") && source.Has(name));
  };
  return {{ModernBertNameIn, ignored}, of_head, OfModernBertHead};
}

std::unique_ptr<io::TensorSource> OpenModernBert(const std::filesystem::path& directory,
                                                 std::vector<std::string>* notes) {
  return WithoutExtraPrefix(io::OpenModel(directory), notes);
}

}  // namespace

void ApplyModernBertOptions(const FamilyOptions& options, ModernBertConfig* config) {
  for (const auto& [name, value] : options.values()) {
    if (name != "attention") RefuseOption("ModernBERT", name);
    Check(value == "full" || value == "config", ErrorCode::kUsage,
          "attention: '{}' is not there; a ModernBERT has full and config", io::Escape(value));
    config->all_full = value == "full";
  }
}

void CheckModernBertTensors(const ModelFolder& folder) {
  ModernBertConfig config = LoadModernBertConfig(folder);
  std::vector<std::string> notes;
  const auto source = OpenModernBert(folder.directory, &notes);
  Untie(*source, {}, &config, &notes);
  const ModernBert model(std::move(config), ParameterMemory::kBorrowed);
  const WeightRules rules = ModernBertRules(model.parameters(), *source);
  CheckUnread(*source, UnreadTensors(*source, rules.names, model.parameters()));
}

ModernBert LoadModernBert(const ModelFolder& folder, const LoadOptions& options,
                          std::vector<std::string>* warnings) {
  ModernBertConfig config = LoadModernBertConfig(folder);
  ApplyModernBertOptions(options.family, &config);
  std::vector<std::string> notes = config.notes;
  const auto source = OpenModernBert(folder.directory, &notes);
  Untie(*source, options, &config, &notes);
  if (options.dropout) {
    config.embedding_dropout = config.attention_dropout = *options.dropout;
    config.feed_forward_dropout = config.classifier_dropout = *options.dropout;
  }
  // Under another head the weights have to hold an encoder; what they lack of the head is drawn.
  ModernBertConfig needed = config;
  if (options.head) needed.head = HeadKind::kNone;
  CheckFileHolds(*source, ParameterCount(needed), [&] {
    const ModernBert whole(config, ParameterMemory::kBorrowed);
    const WeightRules rules = ModernBertRules(whole.parameters(), *source);
    return UnfitTensors(*source, NamesWithoutHead(rules, options), whole.parameters());
  });
  const OpenedWeights files{*source, std::move(notes), {}, {}, config.custom_code};
  const bool take = !options.head || config.Put(*options.head);
  ModernBert model(std::move(config));
  LoadWeights(
      folder.directory, files, ModernBertRules(model.parameters(), *source), options, take,
      model.parameters(),
      [&](std::uint64_t seed, const auto& which) { model.Initialise(seed, which); }, warnings);
  return model;
}

std::vector<io::TensorEntry> ModernBertEntries(const ModernBert& model) {
  return WeightEntries(model.parameters());
}

void SaveModernBert(const ModernBert& model, const std::filesystem::path& directory) {
  io::EnsureWritableDirectory(directory);
  io::WriteFileAtomic(directory / "config.json", ToJson(model.config()));
  io::WriteSafetensors(directory / "model.safetensors", ModernBertEntries(model),
                       {{"format", "pt"}});
}

std::map<std::string, std::string> ModernBertNamesToWrite(const std::filesystem::path& /*in*/,
                                                          const io::TensorSource& source,
                                                          std::string_view class_name,
                                                          std::vector<std::string>* /*warnings*/) {
  const bool bare = class_name == ModernBertClass(HeadKind::kNone);
  const std::string words = PlainNameIn(source, kTokenMatrix);
  std::map<std::string, std::string> from;
  for (const auto& [name, info] : source.tensors()) {
    if (name == kDecoder && !words.empty() && SharePlace(info, source.Info(words))) continue;
    const std::string_view plain = WithoutPrefix(name);
    const bool head = OfModernBertHead(name);
    std::string written =
        head || bare ? std::string(head ? name : plain) : std::string(kPrefix) + std::string(plain);
    Check(from.emplace(std::move(written), name).second, ErrorCode::kFormat,
          "{}: '{}' is there with and without \"model.\" before it", source.source(),
          io::Escape(plain));
  }
  return from;
}

}  // namespace longspan
