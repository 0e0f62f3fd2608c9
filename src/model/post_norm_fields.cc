#include "model/post_norm_fields.h"

#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "base/limits.h"
#include "io/json.h"
#include "longspan/files.h"
#include "model/layer_pattern.h"
#include "ops/feed_forward/feed_forward.h"

namespace longspan {
namespace {

using nlohmann::json;

void ParsePostNormSizes(const json& o, std::string_view source, idx_t most_positions,
                        PostNormFields* c) {
  c->vocab_size = io::GetInt(o, "vocab_size", 1, limits::kVocabulary, c->vocab_size, source);
  c->hidden_size = io::GetInt(o, "hidden_size", 1, limits::kChannels, c->hidden_size, source);
  c->heads = io::GetInt(o, "num_attention_heads", 1, limits::kChannels, c->heads, source);
  Check(c->hidden_size % c->heads == 0, ErrorCode::kFormat,
        "{}: hidden_size {} is no multiple of num_attention_heads {}", source, c->hidden_size,
        c->heads);
  c->feed_forward_size =
      io::GetInt(o, "intermediate_size", 1, limits::kChannels, c->feed_forward_size, source);
  c->max_positions =
      io::GetInt(o, "max_position_embeddings", 1, most_positions, c->max_positions, source);
  c->token_types = io::GetInt(o, "type_vocab_size", 1, limits::kVocabulary, c->token_types, source);
  c->activation = io::GetString(o, "hidden_act", c->activation, source);
  try {
    ParseActivation(c->activation);
  } catch (const Error& error) {
    Fail(ErrorCode::kFormat, "{}: hidden_act: {}", source, error.what());
  }
  io::GetChoice(o, "position_embedding_type", {"absolute"}, "absolute", source);
}

void ParsePostNormTokens(const json& o, std::string_view source, PostNormFields* c) {
  const idx_t last = c->vocab_size - 1;
  c->pad_token = io::GetInt(o, "pad_token_id", 0, last, c->pad_token, source);
  Check(c->longest() >= 1, ErrorCode::kFormat,
        "{}: max_position_embeddings {} leaves no position behind pad_token_id {}: a text's first "
        "token has position pad_token_id + 1",
        source, c->max_positions, c->pad_token);
  const auto special = [&](const char* field, std::optional<idx_t> absent) {
    if (o.contains(field)) return io::GetOptionalInt(o, field, 0, last, source);
    return absent && *absent <= last ? absent : std::nullopt;  // the default of a larger vocabulary
  };
  c->bos_token = special("bos_token_id", c->bos_token);
  c->eos_token = special("eos_token_id", c->eos_token);
  c->sep_token = special("sep_token_id", c->sep_token);
}

}  // namespace

void ParsePostNormFields(const json& o, std::string_view source, idx_t most_positions,
                         PostNormFields* c) {
  ParsePostNormSizes(o, source, most_positions, c);
  ParsePostNormTokens(o, source, c);
  c->hidden_dropout = io::GetDropout(o, "hidden_dropout_prob", c->hidden_dropout, source);
  c->attention_dropout =
      io::GetDropout(o, "attention_probs_dropout_prob", c->attention_dropout, source);
  c->layer_norm_eps = io::GetFloat(o, "layer_norm_eps", 1e-30, 1.0, c->layer_norm_eps, source);
  c->initializer_range =
      io::GetFloat(o, "initializer_range", 0.0, 1e6, c->initializer_range, source);
  c->tied = io::GetBool(o, "tie_word_embeddings", c->tied, source);
  c->custom_code = !io::IsNullOrAbsent(o, "auto_map");
}

void ParsePostNormLabels(const json& o, std::string_view source,
                         const std::optional<WeightHeads>& weights, std::string_view class_name,
                         PostNormFields* c) {
  LabelFields labels = ParseLabels(o, source);
  c->problem = ParseProblemType(o, source);
  const bool sequences = c->head == HeadKind::kSequence;
  if (sequences || c->head == HeadKind::kToken) {
    if (weights) {
      const bool dense = sequences && weights->dense_classes > 0;
      FitLabels(dense ? weights->dense_classes : weights->classes, source, &labels);
    }
    if (sequences) CheckProblem(source, &c->problem, &labels);
    c->notes = std::move(labels.notes);
  }
  c->labels = std::move(labels.names);
  Check(c->head != HeadKind::kQuestion || c->label_count() == 2, ErrorCode::kFormat,
        "{}: {} labels; a {} needs 2, start and end", source, c->label_count(), class_name);
}

void WritePostNormFields(const PostNormFields& c, std::size_t layers, json* object) {
  const auto optional = [](const std::optional<idx_t>& id) {
    return id ? json(*id) : json(nullptr);
  };
  json& o = *object;
  o["num_hidden_layers"] = layers;
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
}

// ---- as a ModelConfig ---------------------------------------------------------------------------

void ResizePostNorm(const ModelSizes& sizes, PostNormFields* c) {
  if (sizes.heads > 0) c->heads = sizes.heads;
  if (sizes.width > 0) {
    c->feed_forward_size = std::max<idx_t>(1, c->feed_forward_size * sizes.width / c->hidden_size);
    c->hidden_size = sizes.width;
  }
  if (sizes.width > 0 || sizes.heads > 0) CheckHeadsDivide(c->hidden_size, c->heads);
  // The table may have rows that no token has: those up to the padding token's.
  if (sizes.positions > 0) c->max_positions = sizes.positions + c->first_position();
}

// Rows stay as long as they were.
void UseTokenizerPostNorm(const text::Tokenizer& tokenizer, std::string_view title,
                          PostNormFields* c) {
  const text::SpecialIds& ids = tokenizer.special();
  Check(ids.pad.has_value(), ErrorCode::kFormat,
        "init: the tokenizer has no padding token, which a {} needs", title);
  const idx_t longest = c->longest();
  c->vocab_size = tokenizer.vocabulary();
  c->pad_token = *ids.pad;
  c->max_positions = longest + c->first_position();
  c->bos_token = ids.bos ? ids.bos : ids.cls;
  c->eos_token = ids.eos ? ids.eos : ids.sep;
  c->sep_token = ids.sep ? ids.sep : ids.eos;
  const text::Encoding pair = tokenizer.EncodePair("a", "b").front();
  if (pair.size() > 0) {
    const std::int32_t last = *std::max_element(pair.type_ids.begin(), pair.type_ids.end());
    c->token_types = std::max<idx_t>(c->token_types, last + 1);
  }
}

TextModelInfo PostNormInfo(const PostNormFields& c) {
  TextModelInfo info;
  info.head = c.head;
  info.labels = c.labels;
  info.problem = c.problem;
  info.width = c.hidden_size;
  info.vocab_size = c.vocab_size;
  info.pad_token = c.pad_token;
  info.token_types = c.token_types;
  info.sep_token = c.sep_token;
  info.longest = c.longest();
  info.padding_by_id = c.positions_by_id;
  info.reads_labelled = info.side_by_side = true;
  info.most_row_ranks = c.heads;
  return info;
}

void DescribePostNormSizes(const PostNormFields& c, std::string_view class_name, std::size_t layers,
                           ModelDescription* shown) {
  nlohmann::ordered_json& j = shown->json;
  j["architecture"] = class_name;
  j["layers"] = layers;
  j["hidden_size"] = c.hidden_size;
  j["heads"] = c.heads;
  j["head_size"] = c.head_size();
  j["feed_forward_size"] = c.feed_forward_size;
  j["vocab_size"] = c.vocab_size;
  shown->lines.emplace_back("model", std::string(class_name));
  shown->lines.emplace_back("layers", fmt::format("{}", layers));
  shown->lines.emplace_back(
      "width", fmt::format("{} channels, {} heads of {}, feed-forward {}", c.hidden_size, c.heads,
                           c.head_size(), c.feed_forward_size));
}

void DescribePostNormTables(const PostNormFields& c, bool pooler, std::uint64_t parameters,
                            ModelDescription* shown) {
  nlohmann::ordered_json& j = shown->json;
  j["positions"] = {{"kind", "table"}, {"positions", c.longest()}, {"rows", c.max_positions}};
  j["token_types"] = c.token_types;
  j["activation"] = c.activation;
  j["pooler"] = pooler;
  if (c.head == HeadKind::kSequence || c.head == HeadKind::kToken) j["labels"] = c.labels;
  j["parameters"] = parameters;
  shown->lines.emplace_back("positions", fmt::format("one table of {} positions", c.longest()));
  shown->lines.emplace_back("vocabulary", fmt::format("{}", c.vocab_size));
}

std::uint64_t PostNormParameterCount(const PostNormFields& c, std::size_t layers,
                                     std::uint64_t projections, bool pooler) {
  const auto u = [](idx_t n) { return static_cast<std::uint64_t>(n); };
  const std::uint64_t channels = u(c.hidden_size), hidden = u(c.feed_forward_size);
  const std::uint64_t square = channels * channels + channels;  // a dense layer of this width
  std::uint64_t count = (u(c.vocab_size) + u(c.max_positions) + u(c.token_types) + 2) * channels;
  count += layers * ((projections + 1) * square + 2 * channels * hidden + hidden + 5 * channels);
  if (pooler) count += square;
  const auto head = [&](std::uint64_t labels) { return labels * (channels + 1); };
  switch (c.head) {
    case HeadKind::kMaskedLm:
      return count + square + 2 * channels + u(c.vocab_size) * (c.tied ? 1 : 1 + channels);
    case HeadKind::kSequence:
    case HeadKind::kToken:
    case HeadKind::kQuestion:
      return count + head(u(c.label_count()));
    case HeadKind::kChoice:
      return count + head(1);
    case HeadKind::kNone:
    case HeadKind::kCausalLm:  // such encoders have none
      break;
  }
  return count;
}

}  // namespace longspan
