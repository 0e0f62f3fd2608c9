#include "tasks/sentence_folder.h"

#include <algorithm>

#include "base/errors.h"
#include "base/limits.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "io/paths.h"
#include "longspan/files.h"
#include "model/sentence_config.h"
#include "text/unicode.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

template <std::size_t N>
bool IsIn(const std::string_view (&list)[N], std::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

// What works on the vector of a text.
bool IsBehindPooling(std::string_view kind) {
  constexpr std::string_view kKinds[] = {"Dense", "LayerNorm", "Normalize", "Dropout"};
  return IsIn(kKinds, kind);
}

// Below the directory: no component leads out of it.
bool StaysBelow(const fs::path& path) {
  return path.is_relative() && path.native().find('\0') == std::string::npos &&
         std::none_of(path.begin(), path.end(), [](const fs::path& part) { return part == ".."; });
}

// The field is absent or has the one value that is known.
void CheckField(const json& object, const char* field, std::string_view known,
                std::string_view source) {
  if (io::IsNullOrAbsent(object, field)) return;
  io::GetChoice(object, field, {std::string(known)}, io::kRequired, source);
}

// What a module of modules.json adds to the folder.
void AddModule(const fs::path& directory, const SentenceModule& module, bool pooled, idx_t channels,
               std::string_view source, SentenceFolder& folder) {
  const bool needs_files = module.kind != "Normalize" && module.kind != "Dropout";
  Check(!needs_files || !module.path.empty(), ErrorCode::kFormat,
        "{}: module '{}' has no path to its folder", source, io::Escape(module.type));
  const fs::path below = directory / module.path;
  if (module.kind == "Pooling") {
    Check(!pooled, ErrorCode::kFormat, "{}: names two poolings", source);
    folder.pooling = ReadPooling(below / "config.json", channels);
    return;
  }
  Check(pooled, ErrorCode::kFormat,
        "{}: module '{}' stands before the pooling, where there is no vector of a text yet", source,
        io::Escape(module.type));
  if (module.kind == "Normalize") {
    if (!module.path.empty()) CheckOnVectors(below / "config.json");
    folder.modules.push_back(MakeNormalize());
  } else if (module.kind == "Dense") {
    folder.modules.push_back(ReadDense(below));
  } else if (module.kind == "LayerNorm") {
    folder.modules.push_back(ReadLayerNorm(below));
  }  // Dropout: of training only
}

// config_sentence_transformers.json, if it is there.
void ReadFolderConfig(const fs::path& directory, SentenceFolder& folder) {
  const fs::path file = directory / "config_sentence_transformers.json";
  if (!io::Exists(file)) return;
  const FolderObject config = ReadFolderObject(file);
  folder.prompts = ReadPrompts(config.object, config.source);
  folder.truncate_dim = io::GetOptionalInt(config.object, "truncate_dim", 1,
                                           limits::kMostVectorChannels, config.source);
}

// Nothing but the last hidden states is pooled.
constexpr TransformerUse kHiddenStates{"feature-extraction", "token_embeddings",
                                       "last_hidden_state"};

}  // namespace

FolderObject ReadFolderObject(const fs::path& file) {
  FolderObject config{json::object(), io::Escape(file.string())};
  if (!io::Exists(file)) return config;
  config.object = io::ReadJsonFile(file);
  io::CheckObject(config.object, config.source);
  return config;
}

bool IsTransformer(std::string_view kind) {
  constexpr std::string_view kKinds[] = {"Transformer", "BERT",      "RoBERTa", "DistilBERT",
                                         "ALBERT",      "CamemBERT", "XLNet",   "XLMRoBERTa"};
  return IsIn(kKinds, kind);
}

std::vector<SentenceModule> ReadModules(const fs::path& file, std::string_view source) {
  const json list = io::ReadJsonFile(file);
  Check(list.is_array() && list.size() <= limits::kMostSentenceModules, ErrorCode::kFormat,
        "{}: is no list of at most {} modules", source, limits::kMostSentenceModules);
  std::vector<SentenceModule> modules;
  for (const json& entry : list) {
    Check(entry.is_object(), ErrorCode::kFormat, "{}: a module is no JSON object", source);
    SentenceModule module;
    module.type = io::GetString(entry, "type", io::kRequired, source);
    module.kind = module.type.substr(module.type.rfind('.') + 1);
    module.path = io::GetString(entry, "path", "", source);
    const bool known =
        IsTransformer(module.kind) || module.kind == "Pooling" || IsBehindPooling(module.kind);
    Check(known, ErrorCode::kFormat,
          "{}: module '{}' is not known; known are Transformer, Pooling, Dense, LayerNorm, "
          "Normalize and Dropout",
          source, io::Escape(module.type));
    Check(StaysBelow(module.path), ErrorCode::kFormat,
          "{}: path '{}' of module '{}' is no folder below this one", source,
          io::Escape(module.path), io::Escape(module.type));
    modules.push_back(std::move(module));
  }
  return modules;
}

TransformerSettings ReadTransformerSettings(const fs::path& directory, const SentenceModule& module,
                                            const TransformerUse& use) {
  auto file = FindSentenceConfig(directory / module.path);
  // A converted model may lie beside the folder that it came from.
  if (!file && !module.path.empty()) file = FindSentenceConfig(directory);
  TransformerSettings settings;
  if (!file) return settings;
  const json config = io::ReadJsonFile(*file);
  const std::string source = io::Escape(file->string());
  io::CheckObject(config, source);
  settings.max_tokens = SentenceTokens(config, source);
  settings.lower_case = io::GetBool(config, "do_lower_case", false, source);
  CheckField(config, "transformer_task", use.task, source);
  CheckField(config, "module_output_name", use.output, source);
  if (config.contains("modality_config") && config["modality_config"].is_object()) {
    const json& modalities = config["modality_config"];
    if (modalities.contains("text") && modalities["text"].is_object()) {
      CheckField(modalities["text"], "method_output_name", use.method_output, source);
    }
  }
  return settings;
}

SentenceFolder ReadSentenceFolder(const fs::path& directory, idx_t channels) {
  SentenceFolder folder;
  ReadFolderConfig(directory, folder);
  const fs::path file = directory / "modules.json";
  if (!io::Exists(file)) return folder;
  const std::string source = io::Escape(file.string());
  bool transformer = false, pooled = false;
  for (const SentenceModule& module : ReadModules(file, source)) {
    if (!IsTransformer(module.kind)) {
      Check(transformer, ErrorCode::kFormat, "{}: module '{}' stands where a Transformer must",
            source, io::Escape(module.type));
      AddModule(directory, module, pooled, channels, source, folder);
      pooled = pooled || module.kind == "Pooling";
      continue;
    }
    Check(!transformer, ErrorCode::kFormat, "{}: names two transformers", source);
    transformer = true;
    folder.transformer = ReadTransformerSettings(directory, module, kHiddenStates);
  }
  Check(pooled, ErrorCode::kFormat, "{}: names no Pooling, so a text has no vector", source);
  VectorWidth(folder.pooling, folder.modules, channels);  // checks the widths
  return folder;
}

namespace {

// The module's folder of a new modules.json, and in an older one the pooling's.
std::string PoolingFolder(const fs::path& modules) {
  if (!io::Exists(modules)) {
    const auto module = [](int number, const char* path, const std::string& kind) {
      return json{{"idx", number},
                  {"name", std::to_string(number)},
                  {"path", path},
                  {"type", "sentence_transformers.models." + kind}};
    };
    const json list = {module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling")};
    io::WriteFileAtomic(modules, io::DumpJson(list));
  }
  for (const SentenceModule& module : ReadModules(modules, io::Escape(modules.string()))) {
    if (module.kind == "Pooling") return module.path;
  }
  return {};
}

}  // namespace

void WriteSentenceFolder(const fs::path& directory, const SentenceFolderUpdate& update) {
  const std::string folder = PoolingFolder(directory / "modules.json");
  const fs::path pooling = directory / folder / "config.json";
  if (!folder.empty() && (update.pooling || !io::Exists(pooling))) {
    io::MakeDirectories(directory / folder);
    WritePooling(pooling, update.pooling.value_or(Pooling()), update.channels);
  }
  const fs::path transformer =
      FindSentenceConfig(directory).value_or(directory / "sentence_bert_config.json");
  json settings = ReadFolderObject(transformer).object;
  settings["max_seq_length"] = update.max_tokens;
  if (!settings.contains("do_lower_case")) settings["do_lower_case"] = false;
  io::WriteFileAtomic(transformer, io::DumpJson(settings));
  const fs::path file = directory / "config_sentence_transformers.json";
  json config = ReadFolderObject(file).object;
  if (io::IsNullOrAbsent(config, "prompts")) config["prompts"] = json::object();
  if (update.query) config["prompts"]["query"] = *update.query;
  if (update.document) config["prompts"]["document"] = *update.document;
  if (!config.contains("default_prompt_name")) config["default_prompt_name"] = nullptr;
  if (!config.contains("similarity_fn_name")) config["similarity_fn_name"] = "cosine";
  io::WriteFileAtomic(file, io::DumpJson(config));
}

TaskModel Shortened(const TaskModel& model, const std::optional<idx_t>& most) {
  if (!most || model.options().max_length > 0) return model;
  TaskOptions options = model.options();
  options.max_length = std::clamp<idx_t>(*most, 1, model.longest());
  return TaskModel(model.model(), options);
}

idx_t VectorWidth(const Pooling& pooling, const VectorModules& modules, idx_t channels) {
  idx_t width = static_cast<idx_t>(pooling.modes.size()) * channels;
  for (const auto& module : modules) width = module->WidthOf(width);
  return width;
}

std::string LowerCaseText(std::string_view text) {
  std::vector<idx_t> starts;
  const text::Glyphs lower = text::LowerCase(text::DecodeUtf8(text, starts));
  return text::ToUtf8(lower.data(), lower.data() + lower.size());
}

}  // namespace longspan
