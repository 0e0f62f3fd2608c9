#include "families/reformer/reformer_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/errors.h"
#include "base/limits.h"
#include "base/math.h"
#include "catalogue/mechanism.h"
#include "families/reformer/catalogued_mechanism.h"
#include "io/json.h"
#include "io/policy.h"
#include "longspan/files.h"
#include "model/weight_heads.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {
namespace {

using nlohmann::json;

constexpr std::pair<AttentionChoice, std::string_view> kChoices[] = {
    {AttentionChoice::kConfigured, "config"},
    {AttentionChoice::kFull, "full"},
    {AttentionChoice::kLocal, "local"},
    {AttentionChoice::kFullLsh, "full-lsh"},
};

AttentionChoice ParseAttentionChoice(const json& object, std::string_view source) {
  const std::string name = io::GetString(object, "longspan_attention", "config", source);
  for (const auto& [choice, text] : kChoices) {
    if (text == name) return choice;
  }
  Fail(ErrorCode::kFormat,
       "{}: longspan_attention '{}' is unknown; need config, full, local or full-lsh", source,
       io::Escape(name));
}

HeadKind ReformerHeadIn(const json& object, std::string_view source,
                        const std::optional<WeightHeads>& weights) {
  HeadRules rules{"Reformer"};
  rules.causal = io::GetBool(object, "is_decoder", false, source);
  rules.masked = !rules.causal;
  return ParseHead(object, source, kReformerHeads, rules, weights, HeadKind::kCausalLm);
}

LayerKind KindNamed(const std::string& name, std::string_view source) {
  for (const LayerKind kind : {LayerKind::kLocal, LayerKind::kLsh}) {
    if (name == kind.name()) return kind;
  }
  Check(IsCatalogued(name), ErrorCode::kFormat, "{}: attn_layers has '{}', need {}", source,
        io::Escape(name), LayerKindNames());
  return LayerKind(catalogue::FindMechanism(name)->name);
}

std::vector<LayerKind> ParseLayers(const json& object, std::string_view source) {
  const auto names = io::GetStringList(
      object, "attn_layers",
      std::vector<std::string>{"local", "lsh", "local", "lsh", "local", "lsh"}, source);
  Check(!names.empty() && static_cast<idx_t>(names.size()) <= limits::kLayers, ErrorCode::kFormat,
        "{}: attn_layers has {} entries, need 1 to {}", source, names.size(), limits::kLayers);
  std::vector<LayerKind> layers;
  for (const std::string& name : names) {
    layers.push_back(KindNamed(name, source));
  }
  // `transformers` puts the length of attn_layers in its place: another number says that somebody
  // meant another model.
  const auto count = io::GetOptionalInt(object, "num_hidden_layers", 1, limits::kLayers, source);
  Check(!count || *count == static_cast<idx_t>(layers.size()), ErrorCode::kFormat,
        "{}: num_hidden_layers is {}, attn_layers has {} entries; make them equal or leave "
        "num_hidden_layers out",
        source, count.value_or(0), layers.size());
  return layers;
}

void ParseSizes(const json& o, std::string_view source, ReformerConfig* c) {
  c->vocab_size = io::GetInt(o, "vocab_size", 1, limits::kVocabulary, c->vocab_size, source);
  c->hidden_size = io::GetInt(o, "hidden_size", 1, limits::kChannels, c->hidden_size, source);
  c->heads = io::GetInt(o, "num_attention_heads", 1, limits::kChannels, c->heads, source);
  c->head_size = io::GetInt(o, "attention_head_size", 1, limits::kChannels, c->head_size, source);
  Check(c->width() <= limits::kChannels, ErrorCode::kFormat,
        "{}: num_attention_heads {} times attention_head_size {} is above {}", source, c->heads,
        c->head_size, limits::kChannels);
  c->feed_forward_size =
      io::GetInt(o, "feed_forward_size", 1, limits::kChannels, c->feed_forward_size, source);
  c->max_positions = io::GetInt(o, "max_position_embeddings", 1, limits::kReformerTokens,
                                c->max_positions, source);
  c->activation = io::GetString(o, "hidden_act", c->activation, source);
  try {
    ParseActivation(c->activation);
  } catch (const Error& error) {
    Fail(ErrorCode::kFormat, "{}: hidden_act: {}", source, error.what());
  }
  c->is_decoder = io::GetBool(o, "is_decoder", c->is_decoder, source);
  Check(!io::GetBool(o, "tie_word_embeddings", false, source), ErrorCode::kFormat,
        "{}: tie_word_embeddings is true; a Reformer's head is twice as wide as its embeddings and "
        "cannot be tied, set it to false",
        source);
}

void ParsePositions(const json& o, std::string_view source, ReformerConfig* c) {
  c->axial = io::GetBool(o, "axial_pos_embds", c->axial, source);
  c->axial_shape =
      io::GetIntList(o, "axial_pos_shape", 1, limits::kReformerTokens, c->axial_shape, source);
  c->axial_dims =
      io::GetIntList(o, "axial_pos_embds_dim", 1, limits::kChannels, c->axial_dims, source);
  c->axial_norm_std = io::GetFloat(o, "axial_norm_std", 0.0, 1e6, c->axial_norm_std, source);
  if (!c->axial) return;
  Check(c->axial_shape.size() == 2 && c->axial_dims.size() == 2, ErrorCode::kFormat,
        "{}: axial_pos_shape has {} and axial_pos_embds_dim {} entries, need 2 and 2", source,
        c->axial_shape.size(), c->axial_dims.size());
  Check(c->axial_dims[0] + c->axial_dims[1] == c->hidden_size, ErrorCode::kFormat,
        "{}: axial_pos_embds_dim {} + {} must add up to hidden_size {}", source, c->axial_dims[0],
        c->axial_dims[1], c->hidden_size);
}

void ParseAttention(const json& o, std::string_view source, ReformerConfig* c) {
  const auto chunk = [&](const char* field, idx_t fallback) {
    return io::GetInt(o, field, 1, limits::kChunk, fallback, source);
  };
  const auto neighbours = [&](const char* field, idx_t fallback) {
    return io::GetInt(o, field, 0, limits::kNeighbourChunks, fallback, source);
  };
  c->local_chunk = chunk("local_attn_chunk_length", c->local_chunk);
  c->local_before = neighbours("local_num_chunks_before", c->local_before);
  c->local_after = neighbours("local_num_chunks_after", c->local_after);
  c->local_dropout =
      io::GetDropout(o, "local_attention_probs_dropout_prob", c->local_dropout, source);
  c->lsh_chunk = chunk("lsh_attn_chunk_length", c->lsh_chunk);
  c->lsh_before = neighbours("lsh_num_chunks_before", c->lsh_before);
  c->lsh_after = neighbours("lsh_num_chunks_after", c->lsh_after);
  c->lsh_dropout = io::GetDropout(o, "lsh_attention_probs_dropout_prob", c->lsh_dropout, source);
  c->num_hashes = io::GetInt(o, "num_hashes", 1, limits::kHashRounds, c->num_hashes, source);
  if (!io::IsNullOrAbsent(o, "num_buckets")) {
    c->num_buckets = io::GetIntOrList(o, "num_buckets", 2, limits::kBuckets, std::nullopt, source);
    idx_t product = 1;
    for (const idx_t buckets : c->num_buckets) {
      Check(buckets % 2 == 0, ErrorCode::kFormat, "{}: num_buckets has {}, need even numbers",
            source, buckets);
      product *= buckets;
      Check(product <= limits::kBuckets, ErrorCode::kFormat,
            "{}: num_buckets multiply to {} or more, at most {} have an id", source, product,
            limits::kBuckets);
    }
  }
  c->hash_seed = io::GetOptionalInt(o, "hash_seed", std::numeric_limits<idx_t>::min(),
                                    std::numeric_limits<idx_t>::max(), source);
}

void ParseRegularisation(const json& o, std::string_view source, ReformerConfig* c) {
  c->hidden_dropout = io::GetDropout(o, "hidden_dropout_prob", c->hidden_dropout, source);
  c->layer_norm_eps = io::GetFloat(o, "layer_norm_eps", 1e-30, 1.0, c->layer_norm_eps, source);
  c->initializer_range =
      io::GetFloat(o, "initializer_range", 0.0, 1e6, c->initializer_range, source);
}

void ParseTokens(const json& o, std::string_view source, ReformerConfig* c) {
  const idx_t last = c->vocab_size - 1;
  c->pad_token = io::GetOptionalInt(o, "pad_token_id", 0, last, source).value_or(0);
  c->bos_token = io::GetOptionalInt(o, "bos_token_id", 0, last, source);
  c->eos_token = std::min(c->eos_token, last);
  if (io::IsNullOrAbsent(o, "eos_token_id")) return;
  const auto ends = io::GetIntOrList(o, "eos_token_id", 0, last, io::kRequired, source);
  Check(!ends.empty() && ends.size() <= limits::kEndTokens, ErrorCode::kFormat,
        "{}: eos_token_id is a list of {}, need 1 to {}", source, ends.size(), limits::kEndTokens);
  c->eos_token = ends[0];
  c->more_eos_tokens.assign(ends.begin() + 1, ends.end());
}

// Fields that change how the original runs, but not what it computes.
void ParseRunning(const json& o, std::string_view source, ReformerConfig* c) {
  c->use_cache = io::GetBool(o, "use_cache", c->use_cache, source);
  c->chunk_size_feed_forward =
      io::GetInt(o, "chunk_size_feed_forward", 0, limits::kReformerTokens, 0, source);
  c->chunk_size_lm_head =
      io::GetInt(o, "chunk_size_lm_head", 0, limits::kReformerTokens, 0, source);
}

void ParseHeadFields(const json& o, std::string_view source,
                     const std::optional<WeightHeads>& weights, ReformerConfig* c) {
  LabelFields labels = ParseLabels(o, source);
  c->problem = ParseProblemType(o, source);
  if (c->head == HeadKind::kSequence) {
    if (weights) FitLabels(weights->dense_classes, source, &labels);
    CheckProblem(source, &c->problem, &labels);
    c->notes = std::move(labels.notes);
  }
  c->labels = std::move(labels.names);
  c->classifier_dropout = io::GetOptionalDropout(o, "classifier_dropout", source);
  Check(c->head != HeadKind::kQuestion || c->label_count() == 2, ErrorCode::kFormat,
        "{}: {} labels; a ReformerForQuestionAnswering needs 2, start and end", source,
        c->label_count());
}

void ParseOwnFields(const json& o, std::string_view source, ReformerConfig* c) {
  c->attention = ParseAttentionChoice(o, source);
  c->rotation_seed = io::GetInt(o, "longspan_rotation_seed", 0, std::numeric_limits<idx_t>::max(),
                                c->rotation_seed, source);
  c->lm_bias = io::GetBool(o, "longspan_lm_bias", c->lm_bias, source);
  c->custom_code = !io::IsNullOrAbsent(o, "auto_map");
}

// A causal model must not look ahead; a head fixes whether it is causal.
void CheckHead(std::string_view source, const ReformerConfig& c) {
  if (c.head == HeadKind::kCausalLm) {
    Check(c.is_decoder, ErrorCode::kFormat,
          "{}: a ReformerModelWithLMHead needs is_decoder true, it is false", source);
    const bool local = std::count(c.layers.begin(), c.layers.end(), LayerKind::kLsh) <
                       static_cast<std::ptrdiff_t>(c.layers.size());
    const bool lsh = std::count(c.layers.begin(), c.layers.end(), LayerKind::kLsh) > 0;
    Check((!local || c.local_after == 0) && (!lsh || c.lsh_after == 0), ErrorCode::kFormat,
          "{}: a language model cannot look ahead: local_num_chunks_after is {} and "
          "lsh_num_chunks_after {}, need 0",
          source, c.local_after, c.lsh_after);
  }
  Check(c.head != HeadKind::kMaskedLm || !c.is_decoder, ErrorCode::kFormat,
        "{}: a ReformerForMaskedLM needs is_decoder false, it is true", source);
}

// The presets: width, heads, layers.
struct PresetOfReformer {
  std::string_view name;
  idx_t hidden, heads, layers, before;
};
constexpr PresetOfReformer kReformerPresets[] = {
    {"tiny", 128, 2, 2, 1},
    {"small", 256, 4, 6, 1},
    {"base", 512, 8, 6, 1},
};

}  // namespace

idx_t ReformerConfig::longest() const {
  return axial ? std::min(max_positions, axial_shape[0] * axial_shape[1]) : max_positions;
}

std::string_view ReformerClass(HeadKind head) { return ClassOf(kReformerHeads, head); }

std::string_view AttentionName(AttentionChoice choice) {
  return kChoices[static_cast<std::size_t>(choice)].second;
}

void ChooseAttention(std::string_view name, ReformerConfig* config) {
  if (name == "lsh" || name == "full-lsh") {
    Check(std::count(config->layers.begin(), config->layers.end(), LayerKind::kLsh) > 0,
          ErrorCode::kUsage,
          "attention: '{}' needs layers that share queries and keys; attn_layers has 'local' only",
          name);
    if (name == "lsh") name = "config";
  }
  for (const auto& [choice, text] : kChoices) {
    if (text != name) continue;
    config->attention = choice;
    return;
  }
  Fail(ErrorCode::kUsage, "attention: '{}' is unknown; use full, local, lsh, full-lsh or config",
       io::Escape(name));
}

namespace {

ReformerConfig ReformerConfigIn(const json& object, std::string_view source,
                                const std::optional<WeightHeads>& weights) {
  const std::string type = io::GetString(object, "model_type", "reformer", source);
  Check(type == "reformer", ErrorCode::kFormat,
        "{}: model_type '{}' is not supported; need 'reformer'", source, io::Escape(type));
  ReformerConfig config;
  config.head = ReformerHeadIn(object, source, weights);
  config.layers = ParseLayers(object, source);
  ParseSizes(object, source, &config);
  ParsePositions(object, source, &config);
  ParseAttention(object, source, &config);
  ParseRegularisation(object, source, &config);
  ParseTokens(object, source, &config);
  ParseRunning(object, source, &config);
  ParseHeadFields(object, source, weights, &config);
  ParseOwnFields(object, source, &config);
  CheckHead(source, config);
  return config;
}

}  // namespace

ReformerConfig ParseReformerConfig(std::string_view text, std::string_view source) {
  return ReformerConfigIn(io::ParseJson(text, source), source, std::nullopt);
}

ReformerConfig LoadReformerConfig(const ModelFolder& folder) {
  folder.Require("reformer", "Reformer");
  return ReformerConfigIn(folder.config, folder.source(),
                          DecidingWeights(folder.config, folder.config_file));
}

std::string ToJson(const ReformerConfig& c) {
  std::vector<std::string> layers;
  for (const LayerKind kind : c.layers) {
    layers.emplace_back(kind.name());
  }
  json o = json::object();
  o["model_type"] = "reformer";
  o["architectures"] = {ReformerClass(c.head)};
  o["attn_layers"] = layers;
  o["num_hidden_layers"] = layers.size();
  o["vocab_size"] = c.vocab_size;
  o["hidden_size"] = c.hidden_size;
  o["num_attention_heads"] = c.heads;
  o["attention_head_size"] = c.head_size;
  o["feed_forward_size"] = c.feed_forward_size;
  o["hidden_act"] = c.activation;
  o["is_decoder"] = c.is_decoder;
  o["max_position_embeddings"] = c.max_positions;
  o["axial_pos_embds"] = c.axial;
  o["axial_pos_shape"] = c.axial_shape;
  o["axial_pos_embds_dim"] = c.axial_dims;
  o["axial_norm_std"] = c.axial_norm_std;
  o["local_attn_chunk_length"] = c.local_chunk;
  o["local_num_chunks_before"] = c.local_before;
  o["local_num_chunks_after"] = c.local_after;
  o["local_attention_probs_dropout_prob"] = c.local_dropout;
  o["lsh_attn_chunk_length"] = c.lsh_chunk;
  o["lsh_num_chunks_before"] = c.lsh_before;
  o["lsh_num_chunks_after"] = c.lsh_after;
  o["lsh_attention_probs_dropout_prob"] = c.lsh_dropout;
  o["num_hashes"] = c.num_hashes;
  o["num_buckets"] = c.num_buckets.empty()       ? json(nullptr)
                     : c.num_buckets.size() == 1 ? json(c.num_buckets[0])
                                                 : json(c.num_buckets);
  o["hash_seed"] = c.hash_seed ? json(*c.hash_seed) : json(nullptr);
  o["hidden_dropout_prob"] = c.hidden_dropout;
  o["layer_norm_eps"] = c.layer_norm_eps;
  o["initializer_range"] = c.initializer_range;
  o["pad_token_id"] = c.pad_token;
  o["eos_token_id"] = c.eos_token;
  if (!c.more_eos_tokens.empty()) {
    o["eos_token_id"] = json::array({c.eos_token});
    for (const idx_t id : c.more_eos_tokens) o["eos_token_id"].push_back(id);
  }
  o["bos_token_id"] = c.bos_token ? json(*c.bos_token) : json(nullptr);
  o["chunk_size_feed_forward"] = c.chunk_size_feed_forward;
  o["chunk_size_lm_head"] = c.chunk_size_lm_head;
  o["classifier_dropout"] = c.classifier_dropout ? json(*c.classifier_dropout) : json(nullptr);
  WriteLabels(c.labels, c.problem, &o);
  o["tie_word_embeddings"] = false;
  if (c.attention != AttentionChoice::kConfigured) {
    o["longspan_attention"] = AttentionName(c.attention);
  }
  o["longspan_rotation_seed"] = c.rotation_seed;
  if (!c.lm_bias) o["longspan_lm_bias"] = false;
  o["use_cache"] = c.use_cache;
  o["torch_dtype"] = "float32";
  return io::DumpJson(o);
}

std::uint64_t ParameterCount(const ReformerConfig& c) {
  const auto u = [](idx_t n) { return static_cast<std::uint64_t>(n); };
  const std::uint64_t channels = u(c.hidden_size), width = u(c.width());
  std::uint64_t count = u(c.vocab_size) * channels;
  count += c.axial
               ? u(c.axial_shape[0]) * u(c.axial_dims[0]) + u(c.axial_shape[1]) * u(c.axial_dims[1])
               : u(c.max_positions) * channels;
  for (const LayerKind kind : c.layers) {
    const std::uint64_t projections = kind == LayerKind::kLsh ? 3 : 4;
    count += projections * channels * width + 2 * channels;  // attention
    count += 2 * channels * u(c.feed_forward_size) + u(c.feed_forward_size) + 3 * channels;
  }
  count += 4 * channels;  // the norm over both streams
  switch (c.head) {
    case HeadKind::kNone:
      return count;
    case HeadKind::kCausalLm:
    case HeadKind::kMaskedLm:
      return count + u(c.vocab_size) * (2 * channels + 1);
    case HeadKind::kSequence:
      return count + channels * (2 * channels + 1) + u(c.label_count()) * (channels + 1);
    case HeadKind::kQuestion:
      return count + 2 * (2 * channels + 1);
    case HeadKind::kToken:
    case HeadKind::kChoice:
      break;  // a Reformer has none
  }
  return count;
}

ReformerConfig WithPositions(ReformerConfig config, idx_t tokens) {
  Check(tokens <= limits::kReformerTokens, ErrorCode::kUsage, "step: {} tokens are more than {}",
        tokens, limits::kReformerTokens);
  config.max_positions = std::max(config.max_positions, tokens);
  if (!config.axial) return config;
  idx_t& first = config.axial_shape[0];
  idx_t& second = config.axial_shape[1];
  while (first * second < tokens) (first <= second ? first : second) *= 2;
  return config;
}

std::vector<std::string> ReformerPresetNames() {
  std::vector<std::string> names;
  for (const PresetOfReformer& preset : kReformerPresets) names.emplace_back(preset.name);
  return names;
}

ReformerConfig ReformerPreset(std::string_view name) {
  for (const PresetOfReformer& preset : kReformerPresets) {
    if (preset.name != name) continue;
    ReformerConfig c;
    c.head = HeadKind::kCausalLm;
    c.layers.clear();
    for (idx_t i = 0; i < preset.layers; ++i) {
      c.layers.push_back(i % 2 == 0 ? LayerKind::kLocal : LayerKind::kLsh);
    }
    c.vocab_size = 258;  // bytes, padding, end of text
    c.hidden_size = preset.hidden;
    c.heads = preset.heads;
    c.head_size = preset.hidden / preset.heads;
    c.feed_forward_size = 4 * preset.hidden;
    c.is_decoder = true;
    c.max_positions = 16384;
    c.axial_shape = {128, 128};
    c.axial_dims = {preset.hidden / 4, preset.hidden - preset.hidden / 4};
    c.local_before = preset.before;
    c.local_dropout = c.lsh_dropout = 0.0;
    c.hidden_dropout = 0.0;
    // The default of 1.0 drowns the embeddings' 0.02 for the first thousands of steps.
    c.axial_norm_std = 0.02;
    c.eos_token = 1;
    return c;
  }
  std::string names;
  for (const auto& known : ReformerPresetNames()) names += (names.empty() ? "" : ", ") + known;
  Fail(ErrorCode::kUsage, "preset '{}' is unknown; use one of {}", name, names);
}

}  // namespace longspan
