#include "tasks/pooling.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/json.h"
#include "io/paths.h"
#include "longspan/files.h"

namespace longspan {
namespace {

using nlohmann::json;

struct Name {
  PoolingMode mode;
  std::string_view name;   // ours
  std::string_view value;  // of "pooling_mode" in the pooling's config.json
  std::string_view flag;   // the same there before pooling_mode was
};
// In the order in which sentence-transformers puts several flags behind each other.
constexpr Name kNames[] = {
    {PoolingMode::kCls, "cls", "cls", "pooling_mode_cls_token"},
    {PoolingMode::kMax, "max", "max", "pooling_mode_max_tokens"},
    {PoolingMode::kMean, "mean", "mean", "pooling_mode_mean_tokens"},
    {PoolingMode::kMeanSqrtLen, "mean-sqrt-len", "mean_sqrt_len_tokens",
     "pooling_mode_mean_sqrt_len_tokens"},
    {PoolingMode::kWeightedMean, "weighted-mean", "weightedmean",
     "pooling_mode_weightedmean_tokens"},
    {PoolingMode::kLastToken, "last-token", "lasttoken", "pooling_mode_lasttoken"},
};

// The object's pooling_mode, one text.
PoolingMode ModeOf(const json& object, std::string_view source) {
  std::vector<std::string> values;
  for (const Name& name : kNames) values.emplace_back(name.value);
  const std::string value = io::GetChoice(object, "pooling_mode", values, io::kRequired, source);
  return std::find_if(std::begin(kNames), std::end(kNames),
                      [&](const Name& name) { return name.value == value; })
      ->mode;
}

std::vector<PoolingMode> ModesOf(const json& config, std::string_view source) {
  std::vector<PoolingMode> modes;
  if (!io::IsNullOrAbsent(config, "pooling_mode")) {
    const json& value = config["pooling_mode"];
    if (!value.is_array()) return {ModeOf(config, source)};
    for (const json& one : value) {
      const PoolingMode mode = ModeOf(json::object({{"pooling_mode", one}}), source);
      // Twice the same is no meaning that anybody has, and a list without end would have no bound.
      Check(std::find(modes.begin(), modes.end(), mode) == modes.end(), ErrorCode::kFormat,
            "{}: pooling_mode names {} twice", source, io::Escape(one.get<std::string>()));
      modes.push_back(mode);
    }
  } else {
    bool flags = false;
    for (const Name& name : kNames) {
      flags = flags || config.contains(name.flag);
      if (io::GetBool(config, name.flag, false, source)) modes.push_back(name.mode);
    }
    if (!flags) return {PoolingMode::kMean};
  }
  Check(!modes.empty(), ErrorCode::kFormat, "{}: names no way of pooling", source);
  return modes;
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

Pooling ReadPooling(const std::filesystem::path& file, idx_t channels) {
  const json config = io::ReadJsonFile(file);
  const std::string source = io::Escape(file.string());
  for (const char* field : {"word_embedding_dimension", "embedding_dimension"}) {
    const idx_t width = io::GetInt(config, field, 1, idx_t{1} << 24, channels, source);
    Check(width == channels, ErrorCode::kFormat,
          "{}: {} {} is not {}, the width of the model's vectors", source, field, width, channels);
  }
  Pooling pooling;
  pooling.modes = ModesOf(config, source);
  pooling.include_prompt = io::GetBool(config, "include_prompt", true, source);
  return pooling;
}

void WritePooling(const std::filesystem::path& file, const Pooling& pooling, idx_t channels) {
  nlohmann::json config;
  config["word_embedding_dimension"] = channels;
  for (const Name& name : kNames) {
    const auto& modes = pooling.modes;
    config[std::string(name.flag)] =
        std::find(modes.begin(), modes.end(), name.mode) != modes.end();
  }
  config["include_prompt"] = pooling.include_prompt;
  io::WriteFileAtomic(file, io::DumpJson(config));
}

}  // namespace longspan
