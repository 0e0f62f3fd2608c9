#include "model/model_files.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/atomic_file.h"
#include "io/escape.h"
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

// Gives the config the head that is wanted. False when the head in the files is over other labels,
// so that its numbers mean something else.
bool PutHead(const WantedHead& wanted, ReformerConfig* config) {
  const bool same =
      wanted.labels.empty() ||
      (config->head == wanted.head && config->labels == wanted.labels &&
       (wanted.problem == config->problem || config->problem == ProblemType::kInferred));
  if (wanted.head == HeadKind::kCausalLm) {
    config->is_decoder = true;
    config->local_after = config->lsh_after = 0;
  } else if (config->head != wanted.head) {
    config->is_decoder = false;
  }
  config->head = wanted.head;
  config->problem = wanted.problem;
  if (!wanted.labels.empty()) config->labels = wanted.labels;
  return same;
}

// The head's parameters that the files do not give.
std::set<std::string, std::less<>> NewReformerParameters(const io::TensorSource& source, bool take,
                                                         const ParameterTable& table) {
  std::set<std::string, std::less<>> fresh;
  for (const ParameterInfo& info : table.list()) {
    if (!OfReformerHead(info.name)) continue;
    const std::string name = ReformerNameIn(source, info.name);
    if (!take || name.empty() || source.Info(name).shape != info.shape) fresh.insert(info.name);
  }
  return fresh;
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

io::NonFinite NonFiniteOf(const LoadOptions& options) {
  return options.allow_nonfinite ? io::NonFinite::kAllow : io::NonFinite::kRefuse;
}

}  // namespace

void ApplyOptions(const LoadOptions& options, ReformerConfig* config) {
  if (options.dropout) {
    config->hidden_dropout = config->local_dropout = config->lsh_dropout = *options.dropout;
    config->classifier_dropout = std::nullopt;  // the hidden one
  }
  if (options.lm_bias) config->lm_bias = *options.lm_bias;
  if (!options.attention.empty()) ChooseAttention(options.attention, config);
  if (options.num_hashes == 0) return;
  Check(options.num_hashes >= 1 && options.num_hashes <= limits::kHashRounds, ErrorCode::kUsage,
        "num-hashes: {} is not from 1 to {}", options.num_hashes, limits::kHashRounds);
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
  const auto unread =
      ReadParameters(source, {ReformerNameIn, IgnoredIn(source, model.parameters())},
                     NonFiniteOf(options), model.parameters());
  AddWarnings(source, unread, warnings);
}

Reformer LoadReformer(const std::filesystem::path& directory, const LoadOptions& options,
                      std::vector<std::string>* warnings) {
  ReformerConfig config = LoadReformerConfig(directory);
  std::vector<std::string> notes = config.notes;
  const auto source = WithoutExtraPrefix(io::OpenModel(directory), &notes);
  ReformerConfig least = config;  // under another head the weights have to hold an encoder
  if (options.head) least.head = HeadKind::kNone;
  CheckFileHolds(*source, ParameterCount(least));
  ApplyOptions(options, &config);
  const bool was_causal = config.is_decoder;
  const bool take = !options.head || PutHead(*options.head, &config);
  Reformer model(std::move(config));
  model.SetStrict(options.strict);
  if (warnings != nullptr) AddConfigWarnings(directory, model.config().custom_code, warnings);
  if (!options.head) {
    if (warnings != nullptr) warnings->insert(warnings->end(), notes.begin(), notes.end());
    ReadWeights(*source, options, model, warnings);
    return model;
  }
  const auto fresh = NewReformerParameters(*source, take, model.parameters());
  const auto is_new = [&](std::string_view name) { return fresh.count(name) != 0; };
  const auto unread =
      ReadParameters(*source, {ReformerNameIn, IgnoredIn(*source, model.parameters()), is_new},
                     NonFiniteOf(options), model.parameters());
  if (!fresh.empty()) model.Initialise(options.head->seed, is_new);
  std::vector<std::string> foreign;  // that no other head explains
  std::copy_if(unread.begin(), unread.end(), std::back_inserter(foreign),
               [](const std::string& name) { return !OfReformerHead(name); });
  CheckUnread(*source, foreign);
  if (warnings == nullptr) return model;
  warnings->insert(warnings->end(), notes.begin(), notes.end());
  warnings->insert(warnings->end(), source->warnings().begin(), source->warnings().end());
  if (model.config().is_decoder != was_causal) {
    warnings->push_back(fmt::format("changed: is_decoder is {}", model.config().is_decoder));
  }
  if (!fresh.empty()) warnings->push_back("new: " + NameList({fresh.begin(), fresh.end()}));
  if (!unread.empty()) warnings->push_back("left out: " + NameList(unread));
  return model;
}

void CheckReformerTensors(const std::filesystem::path& directory) {
  const Reformer model(LoadReformerConfig(directory), Reformer::Memory::kBorrowed);
  const auto source = io::OpenModel(directory);
  CheckUnread(*source,
              UnreadTensors(*source, {ReformerNameIn, IgnoredIn(*source, model.parameters())},
                            model.parameters()));
}

std::vector<io::TensorEntry> WeightEntries(Reformer& model) {
  std::vector<io::TensorEntry> entries = WeightEntries(model.parameters());
  // `transformers` before 5.24 looks for one of the names, since then for the other too.
  if (model.parameters().contains(kReformerBias))
    AddAlias(kReformerBias, kReformerBiasAlias, &entries);
  return entries;
}

void SaveReformer(Reformer& model, const std::filesystem::path& directory) {
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
