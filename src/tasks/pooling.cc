#include "tasks/pooling.h"

#include <fmt/ranges.h>

#include "base/errors.h"
#include "io/escape.h"
#include "io/json.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

struct Name {
  PoolingMode mode;
  std::string_view name;   // ours
  std::string_view field;  // in the pooling's config.json
};
// In the order in which sentence-transformers puts several behind each other.
constexpr Name kNames[] = {
    {PoolingMode::kCls, "cls", "pooling_mode_cls_token"},
    {PoolingMode::kMax, "max", "pooling_mode_max_tokens"},
    {PoolingMode::kMean, "mean", "pooling_mode_mean_tokens"},
    {PoolingMode::kMeanSqrtLen, "mean-sqrt-len", "pooling_mode_mean_sqrt_len_tokens"},
    {PoolingMode::kWeightedMean, "weighted-mean", "pooling_mode_weightedmean_tokens"},
    {PoolingMode::kLastToken, "last-token", "pooling_mode_lasttoken"},
};
constexpr std::size_t kMostModules = 16;
constexpr idx_t kMostTokens = idx_t{1} << 31;

void ReadPoolingConfig(const fs::path& file, idx_t channels, Pooling& pooling) {
  const nlohmann::json config = io::ReadJsonFile(file);
  const std::string source = io::Escape(file.string());
  Check(config.is_object(), ErrorCode::kFormat, "{}: is no JSON object", source);
  const idx_t width =
      io::GetInt(config, "word_embedding_dimension", 1, idx_t{1} << 24, channels, source);
  Check(width == channels, ErrorCode::kFormat,
        "{}: word_embedding_dimension {} is not the model's hidden_size {}", source, width,
        channels);
  pooling.modes.clear();
  for (const Name& name : kNames) {
    if (io::GetBool(config, name.field, name.mode == PoolingMode::kMean, source)) {
      pooling.modes.push_back(name.mode);
    }
  }
  Check(!pooling.modes.empty(), ErrorCode::kFormat, "{}: names no way of pooling", source);
}

void ReadSentenceConfig(const fs::path& file, Pooling& pooling) {
  if (!fs::exists(file)) return;
  const nlohmann::json config = io::ReadJsonFile(file);
  const std::string source = io::Escape(file.string());
  Check(config.is_object(), ErrorCode::kFormat, "{}: is no JSON object", source);
  pooling.max_tokens = io::GetOptionalInt(config, "max_seq_length", 1, kMostTokens, source);
  Check(!io::GetBool(config, "do_lower_case", false, source), ErrorCode::kFormat,
        "{}: do_lower_case true lowers texts before the tokenizer, which is not supported; let the "
        "tokenizer do it",
        source);
}

}  // namespace

std::string_view PoolingName(PoolingMode mode) {
  for (const Name& name : kNames) {
    if (name.mode == mode) return name.name;
  }
  return "?";
}

PoolingMode ParsePooling(std::string_view text) {
  std::vector<std::string_view> names;
  for (const Name& name : kNames) {
    if (name.name == text) return name.mode;
    names.push_back(name.name);
  }
  Fail(ErrorCode::kUsage, "pooling: '{}' is unknown; use {}", io::Escape(text),
       fmt::join(names, ", "));
}

Pooling ReadPooling(const fs::path& directory, idx_t channels) {
  Pooling pooling;
  const fs::path file = directory / "modules.json";
  if (!fs::exists(file)) return pooling;
  pooling.from_files = true;
  const nlohmann::json modules = io::ReadJsonFile(file);
  const std::string source = io::Escape(file.string());
  Check(modules.is_array() && modules.size() <= kMostModules, ErrorCode::kFormat,
        "{}: is no list of at most {} modules", source, kMostModules);
  for (const nlohmann::json& module : modules) {
    Check(module.is_object(), ErrorCode::kFormat, "{}: a module is no JSON object", source);
    const std::string type = io::GetString(module, "type", io::kRequired, source);
    const std::string kind = type.substr(type.rfind('.') + 1);  // of sentence_transformers.models.
    if (kind == "Transformer") {
      ReadSentenceConfig(directory / "sentence_bert_config.json", pooling);
    } else if (kind == "Pooling") {
      const fs::path folder = io::GetString(module, "path", io::kRequired, source);
      Check(!folder.empty() && folder == folder.filename() && folder != "..", ErrorCode::kFormat,
            "{}: path '{}' is no folder beside it", source, io::Escape(folder.string()));
      ReadPoolingConfig(directory / folder / "config.json", channels, pooling);
    } else if (kind == "Normalize") {
      pooling.normalize = true;
    } else {
      Fail(ErrorCode::kFormat,
           "{}: module '{}' is not known; known are Transformer, Pooling and Normalize", source,
           io::Escape(type));
    }
  }
  return pooling;
}

}  // namespace longspan
