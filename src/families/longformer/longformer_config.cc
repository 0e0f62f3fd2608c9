#include "families/longformer/longformer_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/json.h"
#include "io/policy.h"
#include "longspan/files.h"
#include "model/weight_heads.h"
#include "ops/feed_forward/feed_forward.h"

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

void ParseSizes(const json& o, std::string_view source, LongformerConfig* c) {
  c->vocab_size = io::GetInt(o, "vocab_size", 1, limits::kVocabulary, c->vocab_size, source);
  c->hidden_size = io::GetInt(o, "hidden_size", 1, limits::kChannels, c->hidden_size, source);
  c->heads = io::GetInt(o, "num_attention_heads", 1, limits::kChannels, c->heads, source);
  Check(c->hidden_size % c->heads == 0, ErrorCode::kFormat,
        "{}: hidden_size {} is no multiple of num_attention_heads {}", source, c->hidden_size,
        c->heads);
  c->feed_forward_size =
      io::GetInt(o, "intermediate_size", 1, limits::kChannels, c->feed_forward_size, source);
  c->max_positions = io::GetInt(o, "max_position_embeddings", 1, limits::kLongformerTokens,
                                c->max_positions, source);
  c->token_types = io::GetInt(o, "type_vocab_size", 1, limits::kVocabulary, c->token_types, source);
  c->activation = io::GetString(o, "hidden_act", c->activation, source);
  try {
    ParseActivation(c->activation);
  } catch (const Error& error) {
    Fail(ErrorCode::kFormat, "{}: hidden_act: {}", source, error.what());
  }
  io::GetChoice(o, "position_embedding_type", {"absolute"}, "absolute", source);
}

void ParseTokens(const json& o, std::string_view source, LongformerConfig* c) {
  const idx_t last = c->vocab_size - 1;
  c->pad_token = io::GetInt(o, "pad_token_id", 0, last, c->pad_token, source);
  Check(c->longest() >= 1, ErrorCode::kFormat,
        "{}: max_position_embeddings {} leaves no position behind pad_token_id {}: a text's first "
        "token has position pad_token_id + 1",
        source, c->max_positions, c->pad_token);
  const auto special = [&](const char* field, std::optional<idx_t> absent) {
    if (o.contains(field)) return io::GetOptionalInt(o, field, 0, last, source);
    return *absent <= last ? absent : std::nullopt;  // the default of a larger vocabulary
  };
  c->bos_token = special("bos_token_id", c->bos_token);
  c->eos_token = special("eos_token_id", c->eos_token);
  c->sep_token = special("sep_token_id", c->sep_token);
}

void ParseRegularisation(const json& o, std::string_view source, LongformerConfig* c) {
  c->hidden_dropout = io::GetDropout(o, "hidden_dropout_prob", c->hidden_dropout, source);
  c->attention_dropout =
      io::GetDropout(o, "attention_probs_dropout_prob", c->attention_dropout, source);
  c->layer_norm_eps = io::GetFloat(o, "layer_norm_eps", 1e-30, 1.0, c->layer_norm_eps, source);
  c->initializer_range =
      io::GetFloat(o, "initializer_range", 0.0, 1e6, c->initializer_range, source);
  c->tied = io::GetBool(o, "tie_word_embeddings", c->tied, source);
}

void ParseHeadFields(const json& o, std::string_view source,
                     const std::optional<WeightHeads>& weights, LongformerConfig* c) {
  LabelFields labels = ParseLabels(o, source);
  c->problem = ParseProblemType(o, source);
  const bool sequences = c->head == HeadKind::kSequence;
  if (sequences || c->head == HeadKind::kToken) {
    if (weights) {
      FitLabels(sequences ? weights->dense_classes : weights->classes, source, &labels);
    }
    if (sequences) CheckProblem(source, &c->problem, &labels);
    c->notes = std::move(labels.notes);
  }
  c->labels = std::move(labels.names);
  Check(c->head != HeadKind::kQuestion || c->label_count() == 2, ErrorCode::kFormat,
        "{}: {} labels; a LongformerForQuestionAnswering needs 2, start and end", source,
        c->label_count());
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
  Check(object.is_object(), ErrorCode::kFormat, "{}: not a JSON object", source);
  const std::string type = io::GetString(object, "model_type", "longformer", source);
  Check(type == "longformer", ErrorCode::kFormat,
        "{}: model_type '{}' is not supported; need 'longformer'", source, io::Escape(type));
  CheckNotOriginal(object, source);
  LongformerConfig config;
  config.head = HeadIn(object, source, weights);
  ParseLayers(object, source, &config);
  ParseSizes(object, source, &config);
  ParseTokens(object, source, &config);
  ParseRegularisation(object, source, &config);
  ParseHeadFields(object, source, weights, &config);
  config.custom_code = !io::IsNullOrAbsent(object, "auto_map");
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
  const auto optional = [](const std::optional<idx_t>& id) {
    return id ? json(*id) : json(nullptr);
  };
  json o = json::object();
  o["model_type"] = "longformer";
  o["architectures"] = {LongformerClass(c.head)};
  o["attention_window"] = c.attention_window;
  o["num_hidden_layers"] = c.layers();
  o["vocab_size"] = c.vocab_size;
  o["hidden_size"] = c.hidden_size;
  o["num_attention_heads"] = c.heads;
  o["intermediate_size"] = c.feed_forward_size;
  o["hidden_act"] = c.activation;
  o["max_position_embeddings"] = c.max_positions;
  o["position_embedding_type"] = "absolute";
  o["type_vocab_size"] = c.token_types;
  o["hidden_dropout_prob"] = c.hidden_dropout;
  o["attention_probs_dropout_prob"] = c.attention_dropout;
  o["layer_norm_eps"] = c.layer_norm_eps;
  o["initializer_range"] = c.initializer_range;
  o["pad_token_id"] = c.pad_token;
  o["bos_token_id"] = optional(c.bos_token);
  o["eos_token_id"] = optional(c.eos_token);
  o["sep_token_id"] = optional(c.sep_token);
  o["tie_word_embeddings"] = c.tied;
  WriteLabels(c.labels, c.problem, &o);
  o["torch_dtype"] = "float32";
  return io::DumpJson(o);
}

std::uint64_t ParameterCount(const LongformerConfig& c) {
  const auto u = [](idx_t n) { return static_cast<std::uint64_t>(n); };
  const std::uint64_t channels = u(c.hidden_size), hidden = u(c.feed_forward_size);
  const std::uint64_t square = channels * channels + channels;  // a dense layer of this width
  std::uint64_t count = (u(c.vocab_size) + u(c.max_positions) + u(c.token_types) + 2) * channels;
  count += c.layers() * (7 * square + 2 * channels * hidden + hidden + 5 * channels);
  if (c.has_pooler()) count += square;
  const auto head = [&](std::uint64_t labels) { return labels * (channels + 1); };
  switch (c.head) {
    case HeadKind::kNone:
      return count;
    case HeadKind::kMaskedLm:
      return count + square + 2 * channels + u(c.vocab_size) * (c.tied ? 1 : 1 + channels);
    case HeadKind::kSequence:
      return count + square + head(u(c.label_count()));
    case HeadKind::kToken:
    case HeadKind::kQuestion:
      return count + head(u(c.label_count()));
    case HeadKind::kChoice:
      return count + head(1);
    case HeadKind::kCausalLm:
      break;  // a Longformer has none
  }
  return count;
}

LongformerConfig WithPositions(LongformerConfig config, idx_t tokens) {
  config.max_positions = std::max(config.max_positions, tokens + config.pad_token + 1);
  return config;
}

std::vector<std::string> LongformerPresetNames() {
  std::vector<std::string> names;
  for (const Preset& preset : kPresets) names.emplace_back(preset.name);
  return names;
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
