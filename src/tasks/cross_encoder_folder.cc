#include "tasks/cross_encoder_folder.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/errors.h"
#include "io/json.h"
#include "io/paths.h"
#include "longspan/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr TransformerUse kLogits{"sequence-classification", "scores", "logits"};

// The activation that a field names, if it is there.
const TorchActivation* ActivationIn(const json& object, std::string_view field,
                                    std::string_view source) {
  const auto name = io::GetOptionalString(object, field, source);
  return name ? &ActivationOf(*name, field, source) : nullptr;
}

const TorchActivation* ActivationOfLogit(const FolderObject& own, const FolderObject& config) {
  if (const auto* found = ActivationIn(own.object, "activation_fn", own.source)) return found;
  const auto nested = config.object.find("sentence_transformers");
  if (nested != config.object.end() && nested->is_object()) {
    const std::string source = config.source + ": sentence_transformers";
    if (const auto* found = ActivationIn(*nested, "activation_fn", source)) return found;
  }
  constexpr const char* kOlder = "sbert_ce_default_activation_function";
  if (const auto* found = ActivationIn(config.object, kOlder, config.source)) return found;
  return &ActivationOf("torch.nn.Sigmoid", "activation_fn", config.source);
}

// Whether these are a model of vectors: what pools and normalizes them has no part in scores.
bool AreOfVectors(const std::vector<SentenceModule>& modules) {
  return modules.size() > 1 && IsTransformer(modules.front().kind) &&
         std::all_of(modules.begin() + 1, modules.end(), [](const SentenceModule& module) {
           return module.kind == "Pooling" || module.kind == "Normalize";
         });
}

}  // namespace

CrossEncoderFolder ReadCrossEncoderFolder(const fs::path& directory) {
  CrossEncoderFolder folder;
  folder.activation = ActivationOfLogit({}, {});
  if (directory.empty()) return folder;
  const fs::path file = directory / "modules.json";
  const std::string source = io::Escape(file.string());
  std::vector<SentenceModule> modules;
  if (io::Exists(file)) modules = ReadModules(file, source);
  // To learn scores from: its prompts are those of single texts.
  if (AreOfVectors(modules)) return folder;
  const FolderObject own = ReadFolderObject(directory / "config_sentence_transformers.json");
  folder.activation = ActivationOfLogit(own, ReadFolderObject(directory / "config.json"));
  const Prompts prompts = ReadPrompts(own.object, own.source);
  if (prompts.default_name) folder.prompt = PromptNamed(prompts, *prompts.default_name);
  for (const SentenceModule& module : modules) {
    Check(IsTransformer(module.kind) && modules.size() == 1, ErrorCode::kFormat,
          "{}: has {} modules, '{}' among them; the scores of a CrossEncoder come from one "
          "Transformer here",
          source, modules.size(), io::Escape(module.type));
    folder.transformer = ReadTransformerSettings(directory, module, kLogits);
  }
  return folder;
}

}  // namespace longspan
