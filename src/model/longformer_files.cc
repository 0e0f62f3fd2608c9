#include "model/longformer_files.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <set>
#include <utility>

#include "io/atomic_file.h"
#include "io/escape.h"
#include "io/json.h"
#include "io/policy.h"
#include "model/weight_files.h"
#include "model/weight_names.h"
#include "model/what_is.h"

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

// Gives the config the head that is wanted. False when the head in the files is over other labels,
// so that its numbers mean something else.
bool PutHead(const WantedHead& wanted, LongformerConfig* config) {
  const bool same =
      config->head == wanted.head && (wanted.labels.empty() || config->labels == wanted.labels) &&
      (wanted.problem == config->problem || config->problem == ProblemType::kInferred);
  config->head = wanted.head;
  config->problem = wanted.problem;
  if (!wanted.labels.empty()) config->labels = wanted.labels;
  return same || wanted.labels.empty();
}

// The head's parameters that the files do not give.
std::set<std::string, std::less<>> NewParameters(const io::TensorSource& source, bool take,
                                                 const ParameterTable& table) {
  std::set<std::string, std::less<>> fresh;
  for (const ParameterInfo& info : table.list()) {
    if (!OfHead(info.name)) continue;
    const std::string name = NameIn(source, info.name);
    if (!take || name.empty() || source.Info(name).shape != info.shape) fresh.insert(info.name);
  }
  return fresh;
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

}  // namespace

void CheckLongformerTensors(const std::filesystem::path& directory) {
  LongformerConfig config = LoadLongformerConfig(directory);
  std::vector<std::string> dropped;
  const auto source = OpenCanonical(directory, nullptr, &dropped);
  config.pooler = !NameIn(*source, kPoolerWeight).empty();
  const Longformer model(std::move(config), Longformer::Memory::kBorrowed);
  std::vector<std::string> unread =
      UnreadTensors(*source, {NameIn, IgnoredIn(model.parameters())}, model.parameters());
  unread.insert(unread.end(), dropped.begin(), dropped.end());
  CheckUnread(*source, unread);
}

LongformerConfig LongformerConfigOf(const std::filesystem::path& directory) {
  LongformerConfig config = LoadLongformerConfig(directory);
  config.pooler = !NameIn(*OpenCanonical(directory), kPoolerWeight).empty();
  return config;
}

Longformer LoadLongformer(const std::filesystem::path& directory, const LongformerLoad& options,
                          std::vector<std::string>* warnings) {
  LongformerConfig config = LoadLongformerConfig(directory);
  std::vector<std::string> dropped;
  std::vector<std::string> notes = config.notes;
  const auto source = OpenCanonical(directory, &notes, &dropped);
  config.pooler = !NameIn(*source, kPoolerWeight).empty();
  if (options.dropout) config.hidden_dropout = config.attention_dropout = *options.dropout;
  CheckFileHolds(*source, NeededNumbers(config, options.head.has_value()));
  const bool take = !options.head || PutHead(*options.head, &config);
  Longformer model(std::move(config));
  ParameterTable& table = model.parameters();
  std::set<std::string, std::less<>> fresh;
  if (options.head) fresh = NewParameters(*source, take, table);
  const auto is_new = [&](std::string_view name) { return fresh.count(name) != 0; };
  const WeightNames names{NameIn, IgnoredIn(table), is_new};
  std::vector<std::string> unread = ReadParameters(
      *source, names, options.allow_nonfinite ? io::NonFinite::kAllow : io::NonFinite::kRefuse,
      table);
  if (!fresh.empty()) model.Initialise(options.head->seed, is_new);
  unread.insert(unread.end(), dropped.begin(), dropped.end());
  if (options.head) {
    std::vector<std::string> foreign;
    std::copy_if(unread.begin(), unread.end(), std::back_inserter(foreign),
                 [](const std::string& name) { return !OfKnownHead(name); });
    CheckUnread(*source, foreign);
  }
  if (warnings != nullptr) {
    warnings->insert(warnings->end(), notes.begin(), notes.end());
    AddConfigWarnings(directory, model.config().custom_code, warnings);
    if (!fresh.empty()) warnings->push_back("new: " + NameList({fresh.begin(), fresh.end()}));
  }
  if (options.head && !unread.empty()) {
    if (warnings == nullptr) return model;
    warnings->insert(warnings->end(), source->warnings().begin(), source->warnings().end());
    warnings->push_back("left out: " + NameList(unread));
  } else {
    AddWarnings(*source, unread, warnings);
  }
  return model;
}

std::vector<io::TensorEntry> LongformerEntries(Longformer& model) {
  std::vector<io::TensorEntry> entries = WeightEntries(model.parameters());
  // `transformers` looks for both names: one is used by its 4.x, the other from 5 on.
  if (model.parameters().contains(kBiasAlias)) AddAlias(kBiasAlias, kBias, &entries);
  return entries;
}

void SaveLongformer(Longformer& model, const std::filesystem::path& directory) {
  io::EnsureWritableDirectory(directory);
  io::WriteFileAtomic(directory / "config.json", ToJson(model.config()));
  io::WriteSafetensors(directory / "model.safetensors", LongformerEntries(model),
                       {{"format", "pt"}});
}

std::string ModelType(const std::filesystem::path& config_file) {
  io::Confine(config_file.parent_path());
  const nlohmann::json object = io::ReadJsonFile(config_file);
  if (!object.is_object()) return "reformer";
  const std::string type = ModelTypeIn(object, io::Escape(config_file.string()));
  return type.empty() ? "reformer" : type;
}

}  // namespace longspan
