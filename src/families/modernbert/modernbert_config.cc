#include "families/modernbert/modernbert_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "families/modernbert/rotary_config.h"
#include "io/json.h"
#include "longspan/files.h"
#include "model/weight_heads.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {
namespace {

using nlohmann::json;

// ---- reading ------------------------------------------------------------------------------------

void ParseModernBertLayers(const json& o, std::string_view source, ModernBertConfig* c) {
  const idx_t layers = io::GetInt(o, "num_hidden_layers", 1, limits::kLayers, 22, source);
  const auto count = static_cast<std::size_t>(layers);
  if (io::IsNullOrAbsent(o, "layer_types")) {
    c->full = FullEvery(count,
                        io::GetInt(o, "global_attn_every_n_layers", 1, limits::kLayers, 3, source));
    return;
  }
  const auto types = io::GetStringList(o, "layer_types", io::kRequired, source);
  Check(types.size() == count, ErrorCode::kFormat,
        "{}: layer_types has {} entries, num_hidden_layers is {}; need one for each", source,
        types.size(), layers);
  for (const std::string& type : types) {
    Check(type == kFullLayer || type == kWindowLayer, ErrorCode::kFormat,
          "{}: layer_types has '{}'; need '{}' or '{}'", source, io::Escape(type, 60), kFullLayer,
          kWindowLayer);
    c->full.push_back(type == kFullLayer);
  }
}

std::string ParseModernBertActivation(const json& o, const char* field, std::string_view source) {
  std::string name = io::GetString(o, field, "gelu", source);
  try {
    ParseActivation(name);
  } catch (const Error& error) {
    Fail(ErrorCode::kFormat, "{}: {}: {}", source, field, error.what());
  }
  return name;
}

void ParseModernBertSizes(const json& o, std::string_view source, ModernBertConfig* c) {
  c->vocab_size = io::GetInt(o, "vocab_size", 1, limits::kVocabulary, c->vocab_size, source);
  c->hidden_size = io::GetInt(o, "hidden_size", 1, limits::kChannels, c->hidden_size, source);
  c->heads = io::GetInt(o, "num_attention_heads", 1, limits::kChannels, c->heads, source);
  Check(c->hidden_size % c->heads == 0, ErrorCode::kFormat,
        "{}: hidden_size {} is no multiple of num_attention_heads {}", source, c->hidden_size,
        c->heads);
  Check(c->head_size() % 2 == 0, ErrorCode::kFormat,
        "{}: hidden_size {} and num_attention_heads {} make heads of {} channels; rotary "
        "embeddings need an even number",
        source, c->hidden_size, c->heads, c->head_size());
  c->feed_forward_size =
      io::GetInt(o, "intermediate_size", 1, limits::kChannels, c->feed_forward_size, source);
  c->activation = ParseModernBertActivation(o, "hidden_activation", source);
  c->classifier_activation = ParseModernBertActivation(o, "classifier_activation", source);
  c->max_positions = io::GetInt(o, "max_position_embeddings", 1, limits::kLongformerTokens,
                                c->max_positions, source);
  c->local_attention =
      io::GetInt(o, "local_attention", 0, limits::kLongformerTokens, c->local_attention, source);
  // The one-sided width, as newer files may say it.
  if (!io::IsNullOrAbsent(o, "sliding_window")) {
    c->local_attention = 2 * io::GetInt(o, "sliding_window", 0, limits::kLongformerTokens / 2,
                                        io::kRequired, source);
  }
  io::GetChoice(o, "position_embedding_type", {"absolute"}, "absolute", source);
}

void ParseModernBertTokens(const json& o, std::string_view source, ModernBertConfig* c) {
  const idx_t last = c->vocab_size - 1;
  const auto special = [&](const char* field, std::optional<idx_t>* id) {
    if (o.contains(field)) {
      *id = io::GetOptionalInt(o, field, 0, last, source);
    } else if (**id > last) {
      id->reset();  // the default of a larger vocabulary
    }
  };
  special("pad_token_id", &c->pad_token);
  special("bos_token_id", &c->bos_token);
  special("eos_token_id", &c->eos_token);
  special("cls_token_id", &c->cls_token);
  special("sep_token_id", &c->sep_token);
}

void ParseModernBertSettings(const json& o, std::string_view source, ModernBertConfig* c) {
  const auto flag = [&](const char* field, bool* value) {
    *value = io::GetBool(o, field, *value, source);
  };
  const auto dropout = [&](const char* field, double* p) {
    *p = io::GetDropout(o, field, *p, source);
  };
  c->norm_eps = io::GetFloat(o, "norm_eps", 1e-30, 1.0, c->norm_eps, source);
  flag("norm_bias", &c->norm_bias);
  flag("attention_bias", &c->attention_bias);
  flag("mlp_bias", &c->feed_forward_bias);
  flag("classifier_bias", &c->classifier_bias);
  flag("decoder_bias", &c->decoder_bias);
  flag("tie_word_embeddings", &c->tied);
  flag("sparse_prediction", &c->sparse_prediction);
  dropout("embedding_dropout", &c->embedding_dropout);
  dropout("attention_dropout", &c->attention_dropout);
  dropout("mlp_dropout", &c->feed_forward_dropout);
  dropout("classifier_dropout", &c->classifier_dropout);
  c->initializer_range =
      io::GetFloat(o, "initializer_range", 0.0, 1e6, c->initializer_range, source);
  if (o.contains("initializer_cutoff_factor")) {
    c->initializer_cutoff = io::GetOptionalFloat(o, "initializer_cutoff_factor", 0.1, 1e6, source);
  }
  c->mean_pooling =
      io::GetChoice(o, "classifier_pooling", {"cls", "mean"}, "cls", source) == "mean";
}

void ParseModernBertHead(const json& o, std::string_view source,
                         const std::optional<WeightHeads>& weights, ModernBertConfig* c) {
  HeadRules rules{"ModernBert"};
  rules.masked = rules.tokens = rules.one_classifier = true;
  c->head = ParseHead(o, source, kModernBertHeads, rules, weights, HeadKind::kNone);
  LabelFields labels = ParseLabels(o, source);
  c->problem = ParseProblemType(o, source);
  if (c->head == HeadKind::kSequence || c->head == HeadKind::kToken) {
    if (weights) FitLabels(weights->classes, source, &labels);
    if (c->head == HeadKind::kSequence) CheckProblem(source, &c->problem, &labels);
    c->notes = std::move(labels.notes);
  }
  c->labels = std::move(labels.names);
  Check(c->head != HeadKind::kQuestion || c->label_count() == 2, ErrorCode::kFormat,
        "{}: {} labels; a ModernBertForQuestionAnswering needs 2, start and end", source,
        c->label_count());
}

ModernBertConfig ModernBertConfigIn(const json& object, std::string_view source,
                                    const std::optional<WeightHeads>& weights) {
  const std::string type = io::GetString(object, "model_type", "modernbert", source);
  Check(type == "modernbert", ErrorCode::kFormat,
        "{}: model_type '{}' is not supported; need 'modernbert'", source, io::Escape(type));
  ModernBertConfig config;
  ParseModernBertHead(object, source, weights, &config);
  ParseModernBertLayers(object, source, &config);
  ParseModernBertSizes(object, source, &config);
  ParseRotaryFields(object, source, config.head_size(), config.max_positions, &config.full_rotary,
                    &config.window_rotary);
  ParseModernBertTokens(object, source, &config);
  ParseModernBertSettings(object, source, &config);
  config.custom_code = !io::IsNullOrAbsent(object, "auto_map");
  return config;
}

// ---- writing ------------------------------------------------------------------------------------

// n of "one full layer, then n - 1 with windows"; absent: the layers have another order.
std::optional<idx_t> EveryOf(const std::vector<bool>& full) {
  for (std::size_t every = 1; every <= full.size(); ++every) {
    if (FullEvery(full.size(), static_cast<idx_t>(every)) == full) return every;
  }
  return std::nullopt;
}

void WriteModernBertLayers(const ModernBertConfig& c, json* o) {
  for (const bool full : c.full) (*o)["layer_types"].push_back(full ? kFullLayer : kWindowLayer);
  WriteRotaryFields(c.full_rotary, c.window_rotary, o);
  if (const auto every = EveryOf(c.full)) (*o)["global_attn_every_n_layers"] = *every;
  (*o)["local_attention"] = c.local_attention;
  (*o)["num_hidden_layers"] = c.layers();
}

void WriteModernBertSettings(const ModernBertConfig& c, json* o) {
  (*o)["norm_eps"] = c.norm_eps;
  (*o)["layer_norm_eps"] = c.norm_eps;  // `transformers` 4 and other readers look for it
  (*o)["norm_bias"] = c.norm_bias;
  (*o)["attention_bias"] = c.attention_bias;
  (*o)["mlp_bias"] = c.feed_forward_bias;
  (*o)["embedding_dropout"] = c.embedding_dropout;
  (*o)["attention_dropout"] = c.attention_dropout;
  (*o)["mlp_dropout"] = c.feed_forward_dropout;
  (*o)["classifier_dropout"] = c.classifier_dropout;
  (*o)["classifier_pooling"] = c.mean_pooling ? "mean" : "cls";
  (*o)["classifier_bias"] = c.classifier_bias;
  (*o)["classifier_activation"] = c.classifier_activation;
  (*o)["decoder_bias"] = c.decoder_bias;
  (*o)["tie_word_embeddings"] = c.tied;
  (*o)["sparse_prediction"] = c.sparse_prediction;
  (*o)["initializer_range"] = c.initializer_range;
  (*o)["initializer_cutoff_factor"] =
      c.initializer_cutoff ? json(*c.initializer_cutoff) : json(nullptr);
}

// The presets; the released models have 64 channels in each head.
struct ModernBertSizes {
  std::string_view name;
  idx_t hidden, heads, feed_forward, layers;
};
constexpr ModernBertSizes kModernBertSizes[] = {
    {"tiny", 128, 2, 192, 4},
    {"small", 256, 4, 384, 7},
    {"base", 768, 12, 1152, 22},
    {"large", 1024, 16, 2624, 28},
};

}  // namespace

RotarySpec ModernBertConfig::rotary(bool of_full) const {
  RotarySpec spec = of_full ? full_rotary : window_rotary;
  spec.max_positions = max_positions;
  return spec;
}

std::string_view ModernBertClass(HeadKind head) { return ClassOf(kModernBertHeads, head); }

std::vector<bool> FullEvery(std::size_t layers, idx_t every) {
  std::vector<bool> full;
  for (std::size_t i = 0; i < layers; ++i) full.push_back(static_cast<idx_t>(i) % every == 0);
  return full;
}

ModernBertConfig ParseModernBertConfig(std::string_view text, std::string_view source) {
  return ModernBertConfigIn(io::ParseJson(text, source), source, std::nullopt);
}

ModernBertConfig LoadModernBertConfig(const ModelFolder& folder) {
  folder.Require("modernbert", "ModernBERT");
  return ModernBertConfigIn(folder.config, folder.source(),
                            DecidingWeights(folder.config, folder.config_file));
}

std::string ToJson(const ModernBertConfig& c) {
  const auto optional = [](const std::optional<idx_t>& id) {
    return id ? json(*id) : json(nullptr);
  };
  json o = json::object();
  o["model_type"] = "modernbert";
  o["architectures"] = {ModernBertClass(c.head)};
  WriteModernBertLayers(c, &o);
  o["vocab_size"] = c.vocab_size;
  o["hidden_size"] = c.hidden_size;
  o["num_attention_heads"] = c.heads;
  o["intermediate_size"] = c.feed_forward_size;
  o["hidden_activation"] = c.activation;
  o["max_position_embeddings"] = c.max_positions;
  o["position_embedding_type"] = "absolute";
  o["pad_token_id"] = optional(c.pad_token);
  o["bos_token_id"] = optional(c.bos_token);
  o["eos_token_id"] = optional(c.eos_token);
  o["cls_token_id"] = optional(c.cls_token);
  o["sep_token_id"] = optional(c.sep_token);
  WriteModernBertSettings(c, &o);
  WriteLabels(c.labels, c.problem, &o);
  o["torch_dtype"] = "float32";
  return io::DumpJson(o);
}

std::uint64_t ParameterCount(const ModernBertConfig& c) {
  const auto u = [](idx_t n) { return static_cast<std::uint64_t>(n); };
  const auto bias = [](bool there, std::uint64_t size) { return there ? size : 0; };
  const std::uint64_t channels = u(c.hidden_size), hidden = u(c.feed_forward_size);
  const std::uint64_t layers = c.layers(), words = u(c.vocab_size);
  const std::uint64_t norm = channels + bias(c.norm_bias, channels);
  std::uint64_t layer = 4 * channels * channels + 3 * hidden * channels;
  layer += bias(c.attention_bias, 4 * channels) + bias(c.feed_forward_bias, 2 * hidden + channels);
  // The embeddings, all layers with two norms but for the first, which has one, the last norm.
  const std::uint64_t encoder = words * channels + layers * layer + (2 * layers + 1) * norm;
  const std::uint64_t transform = channels * channels + bias(c.classifier_bias, channels) + norm;
  const auto head = [&](std::uint64_t labels) {
    return encoder + transform + labels * (channels + 1);
  };
  switch (c.head) {
    case HeadKind::kMaskedLm:
      return encoder + transform + bias(c.decoder_bias, words) + (c.tied ? 0 : words * channels);
    case HeadKind::kSequence:
    case HeadKind::kToken:
    case HeadKind::kQuestion:
      return head(u(c.label_count()));
    case HeadKind::kChoice:
      return head(1);
    case HeadKind::kNone:
    case HeadKind::kCausalLm:  // a ModernBERT has none
      break;
  }
  return encoder;
}

ModernBertConfig ModernBertPreset(std::string_view name) {
  std::string names;
  for (const ModernBertSizes& sizes : kModernBertSizes) {
    names.append(names.empty() ? "" : ", ").append(sizes.name);
    if (sizes.name != name) continue;
    ModernBertConfig c;
    c.head = HeadKind::kMaskedLm;
    c.full = FullEvery(static_cast<std::size_t>(sizes.layers), 3);
    c.hidden_size = sizes.hidden;
    c.heads = sizes.heads;
    c.feed_forward_size = sizes.feed_forward;
    c.mean_pooling = true;  // as the released ones
    return c;
  }
  Fail(ErrorCode::kUsage, "preset '{}' is unknown; use one of {}", io::Escape(name), names);
}

}  // namespace longspan
