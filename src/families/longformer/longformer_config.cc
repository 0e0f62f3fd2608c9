#include "families/longformer/longformer_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/limits.h"
#include "io/json.h"
#include "longspan/files.h"
#include "model/weight_heads.h"

namespace longspan {
namespace {

using nlohmann::json;

HeadKind HeadIn(const json& object, std::string_view source,
                const std::optional<WeightHeads>& weights) {
  HeadRules rules{"Longformer"};
  rules.masked = rules.tokens = true;
  return ParseHead(object, source, kLongformerHeads, rules, weights, HeadKind::kNone);
}

// Fields of the format that the original code wrote: there attention_window is one-sided.
void CheckNotOriginal(const json& object, std::string_view source) {
  for (const char* field : {"attention_dilation", "autoregressive"}) {
    Check(io::IsNullOrAbsent(object, field), ErrorCode::kFormat,
          "{}: {} is a field of the original code's format, whose attention_window is one-sided; "
          "double the windows and remove the field",
          source, field);
  }
}

void ParseLayers(const json& o, std::string_view source, LongformerConfig* c) {
  const idx_t layers = io::GetInt(o, "num_hidden_layers", 1, limits::kLayers, 12, source);
  c->attention_window = io::GetIntOrList(o, "attention_window", 2, limits::kLongformerTokens,
                                         std::vector<idx_t>{512}, source);
  const bool list = o.contains("attention_window") && o["attention_window"].is_array();
  if (!list) c->attention_window.resize(static_cast<std::size_t>(layers), c->attention_window[0]);
  Check(static_cast<idx_t>(c->attention_window.size()) == layers, ErrorCode::kFormat,
        "{}: attention_window has {} entries, num_hidden_layers is {}; need one for each", source,
        c->attention_window.size(), layers);
  for (const idx_t window : c->attention_window) {
    Check(window % 2 == 0, ErrorCode::kFormat, "{}: attention_window has {}, need even numbers",
          source, window);
  }
}

// Which tokens were global in the training. `transformers` keeps the field and does not read it.
constexpr const char* kGlobalField = "longspan_global_tokens";

GlobalRule GlobalIn(const json& o, std::string_view source) {
  if (io::IsNullOrAbsent(o, kGlobalField)) return {};
  GlobalRule rule;
  try {
    rule = GlobalRule::Parse(io::GetString(o, kGlobalField, io::kRequired, source));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kFormat) throw;
    Fail(ErrorCode::kFormat, "{}: {}: {}", source, kGlobalField, error.what());
  }
  Check(rule.token.empty(), ErrorCode::kFormat, "{}: {}: '{}' needs the token's id", source,
        kGlobalField, io::Escape(rule.Name(), 60));
  if (rule.kind == GlobalRule::Kind::kHead) rule.kind = GlobalRule::Kind::kAuto;
  return rule;
}

// The presets. attention_window counts both sides together.
struct Preset {
  std::string_view name;
  idx_t hidden, heads, layers, window, positions;
};
constexpr Preset kPresets[] = {
    {"tiny", 128, 2, 2, 64, 1026},
    {"small", 256, 4, 6, 256, 4098},
    {"base", 768, 12, 12, 512, 4098},
};

}  // namespace

std::string_view LongformerClass(HeadKind head) { return ClassOf(kLongformerHeads, head); }

idx_t LongformerConfig::largest_window() const {
  return *std::max_element(attention_window.begin(), attention_window.end());
}

namespace {

LongformerConfig ConfigIn(const json& object, std::string_view source,
                          const std::optional<WeightHeads>& weights) {
  const std::string type = io::GetString(object, "model_type", "longformer", source);
  Check(type == "longformer", ErrorCode::kFormat,
        "{}: model_type '{}' is not supported; need 'longformer'", source, io::Escape(type));
  CheckNotOriginal(object, source);
  LongformerConfig config;
  config.head = HeadIn(object, source, weights);
  ParseLayers(object, source, &config);
  config.global = GlobalIn(object, source);
  ParsePostNormFields(object, source, limits::kLongformerTokens, &config);
  ParsePostNormLabels(object, source, weights, LongformerClass(config.head), &config);
  return config;
}

}  // namespace

LongformerConfig ParseLongformerConfig(std::string_view text, std::string_view source) {
  return ConfigIn(io::ParseJson(text, source), source, std::nullopt);
}

LongformerConfig LoadLongformerConfig(const ModelFolder& folder) {
  folder.Require("longformer", "Longformer");
  return ConfigIn(folder.config, folder.source(),
                  DecidingWeights(folder.config, folder.config_file));
}

std::string ToJson(const LongformerConfig& c) {
  json o = json::object();
  o["model_type"] = "longformer";
  o["architectures"] = {LongformerClass(c.head)};
  o["attention_window"] = c.attention_window;
  if (c.global.kind != GlobalRule::Kind::kAuto) o[kGlobalField] = c.global.Name();
  WritePostNormFields(c, c.layers(), &o);
  return io::DumpJson(o);
}

// Query, key and value, and the three of global tokens.
std::uint64_t ParameterCount(const LongformerConfig& c) {
  return PostNormParameterCount(c, c.layers(), 6, c.has_pooler() || c.head == HeadKind::kSequence);
}

LongformerConfig WithPositions(LongformerConfig config, idx_t tokens) {
  config.max_positions = std::max(config.max_positions, tokens + config.pad_token + 1);
  return config;
}

LongformerConfig LongformerPreset(std::string_view name) {
  std::string names;
  for (const Preset& preset : kPresets) {
    names.append(names.empty() ? "" : ", ").append(preset.name);
    if (preset.name != name) continue;
    LongformerConfig c;
    c.head = HeadKind::kMaskedLm;
    c.attention_window.assign(static_cast<std::size_t>(preset.layers), preset.window);
    c.vocab_size = 50265;
    c.hidden_size = preset.hidden;
    c.heads = preset.heads;
    c.feed_forward_size = 4 * preset.hidden;
    c.max_positions = preset.positions;
    c.token_types = 1;
    c.layer_norm_eps = 1e-5;
    return c;
  }
  Fail(ErrorCode::kUsage, "preset '{}' is unknown; use one of {}", io::Escape(name), names);
}

}  // namespace longspan
