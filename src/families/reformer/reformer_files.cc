#include "families/reformer/reformer_files.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "model/weight_files.h"
#include "model/weight_names.h"

namespace longspan {
namespace {

// Files have the output bias under both names, and where they differ the decoder's is what their
// writer added to the logits: `transformers` 5.24 keeps the other one unused.
constexpr std::string_view kReformerBias = "lm_head.bias",
                           kReformerBiasAlias = "lm_head.decoder.bias";

constexpr std::string_view kReformerPrefix = "reformer.";

// The name under which `source` holds a parameter; empty when it does not. Bare models have no
// prefix, others one.
std::string ReformerNameIn(const io::TensorSource& source, const std::string& name) {
  if (name == kReformerBias && source.Has(kReformerBiasAlias))
    return std::string(kReformerBiasAlias);
  if (source.Has(name)) return name;
  const std::string other = name.starts_with(kReformerPrefix) ? name.substr(kReformerPrefix.size())
                                                              : std::string(kReformerPrefix) + name;
  return source.Has(other) ? other : std::string();
}

bool OfReformerHead(std::string_view name) {
  return name.starts_with("lm_head.") || name.starts_with("classifier.") ||
         name.starts_with("qa_outputs.");
}

// Constants that files of 2020 still carry: no parameters.
bool IsLegacyConstant(std::string_view name) {
  return name.find("self_mask_value_") != name.npos || name.find(".mask_value_") != name.npos;
}

// Unread tensors that need no warning: the second name of a bias that the model has once.
auto IgnoredIn(const io::TensorSource& source, const ParameterTable& table) {
  return [both = table.contains(kReformerBias) &&
                 source.Has(kReformerBiasAlias)](std::string_view name) {
    return name == kReformerBiasAlias || (both && name == kReformerBias) || IsLegacyConstant(name);
  };
}

WeightRules RulesFor(const io::TensorSource& source, const ParameterTable& table) {
  return {{ReformerNameIn, IgnoredIn(source, table)}, OfReformerHead, OfReformerHead};
}

}  // namespace

void ApplyOptions(const FamilyOptions& options, ReformerConfig* config) {
  for (const auto& [name, value] : options.values()) {
    if (name == "attention") {
      ChooseAttention(value, config);
    } else if (name == "lm-bias") {
      config->lm_bias = FlagOption(name, value);
    } else if (name == "num-hashes") {
      config->num_hashes = IntegerOption(name, value, 1, limits::kHashRounds);
    } else if (name == "rotation-seed") {
      config->rotation_seed = IntegerOption(name, value, 0, std::numeric_limits<idx_t>::max());
    } else if (name != "strict") {
      RefuseOption("Reformer", name);
    }
  }
  // Last: another attention may leave no layer that hashes.
  const bool hashes = config->attention == AttentionChoice::kConfigured &&
                      std::count(config->layers.begin(), config->layers.end(), LayerKind::kLsh) > 0;
  Check(hashes || options.values().count("num-hashes") == 0, ErrorCode::kUsage,
        "num-hashes: {} rounds are asked for, but no layer hashes; need 'lsh' in attn_layers and "
        "attention 'config'",
        config->num_hashes);
}

void SetDropout(double dropout, ReformerConfig* config) {
  config->hidden_dropout = config->local_dropout = config->lsh_dropout = dropout;
  config->classifier_dropout = std::nullopt;  // the hidden one
}

bool PutHead(const WantedHead& wanted, ReformerConfig* config) {
  if (wanted.head == HeadKind::kCausalLm) {
    config->is_decoder = true;
    config->local_after = config->lsh_after = 0;
  } else if (config->head != wanted.head) {
    config->is_decoder = false;
  }
  return config->Put(wanted);
}

Reformer LoadReformer(const ModelFolder& folder, const LoadOptions& options,
                      std::vector<std::string>* warnings) {
  ReformerConfig config = LoadReformerConfig(folder);
  std::vector<std::string> notes = config.notes;
  const auto source = WithoutExtraPrefix(io::OpenModel(folder.directory), &notes);
  ReformerConfig least = config;  // under another head the weights have to hold an encoder
  if (options.head) least.head = HeadKind::kNone;
  CheckFileHolds(*source, ParameterCount(least), [&] {
    const Reformer whole(config, ParameterMemory::kBorrowed);
    const WeightRules rules = RulesFor(*source, whole.parameters());
    return UnfitTensors(*source, NamesWithoutHead(rules, options), whole.parameters());
  });
  if (options.dropout) SetDropout(*options.dropout, &config);
  ApplyOptions(options.family, &config);
  OpenedWeights files{*source, std::move(notes), {}, {}, config.custom_code};
  const bool was_causal = config.is_decoder;
  const bool take = !options.head || PutHead(*options.head, &config);
  if (config.is_decoder != was_causal) {
    files.changes.push_back(fmt::format("changed: is_decoder is {}", config.is_decoder));
  }
  Reformer model(std::move(config));
  const auto strict = options.family.values().find("strict");
  if (strict != options.family.values().end()) {
    model.SetStrict(FlagOption(strict->first, strict->second));
  }
  LoadWeights(
      folder.directory, files, RulesFor(*source, model.parameters()), options, take,
      model.parameters(),
      [&](std::uint64_t seed, const auto& which) { model.Initialise(seed, which); }, warnings);
  return model;
}

void CheckReformerTensors(const ModelFolder& folder) {
  const Reformer model(LoadReformerConfig(folder), ParameterMemory::kBorrowed);
  const auto source = io::OpenModel(folder.directory);
  CheckUnread(*source, UnreadTensors(*source, RulesFor(*source, model.parameters()).names,
                                     model.parameters()));
}

std::vector<io::TensorEntry> WeightEntries(const Reformer& model) {
  std::vector<io::TensorEntry> entries = WeightEntries(model.parameters());
  // `transformers` before 5.24 looks for one of the names, since then for the other too.
  if (model.parameters().contains(kReformerBias))
    AddAlias(kReformerBias, kReformerBiasAlias, &entries);
  return entries;
}

void SaveReformer(const Reformer& model, const std::filesystem::path& directory) {
  io::EnsureWritableDirectory(directory);
  const ReformerConfig& config = model.config();
  nlohmann::json generation = nlohmann::json::object();
  generation["eos_token_id"] = config.eos_token;
  generation["pad_token_id"] = config.pad_token;
  io::WriteFileAtomic(directory / "config.json", ToJson(config));
  io::WriteFileAtomic(directory / "generation_config.json", io::DumpJson(generation));
  io::WriteSafetensors(directory / "model.safetensors", WeightEntries(model), {{"format", "pt"}});
}

}  // namespace longspan
