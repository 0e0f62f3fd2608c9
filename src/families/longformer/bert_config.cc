#include "families/longformer/bert_config.h"

#include <algorithm>

#include "base/errors.h"
#include "base/limits.h"
#include "io/json.h"
#include "longspan/files.h"

namespace longspan {
namespace {

using nlohmann::json;

struct ClassEnd {
  std::string_view name;  // behind "Bert" or "Roberta"
  HeadKind head;
};
constexpr ClassEnd kClasses[] = {
    {"Model", HeadKind::kNone},
    {"ForMaskedLM", HeadKind::kMaskedLm},
    {"ForPreTraining", HeadKind::kMaskedLm},
    {"ForSequenceClassification", HeadKind::kSequence},
    {"ForTokenClassification", HeadKind::kToken},
    {"ForQuestionAnswering", HeadKind::kQuestion},
    {"ForMultipleChoice", HeadKind::kChoice},
};

// Fields that a Longformer does not have, or that are rewritten.
constexpr std::string_view kReplaced[] = {"model_type",
                                          "architectures",
                                          "attention_window",
                                          "hidden_size",
                                          "num_hidden_layers",
                                          "num_attention_heads",
                                          "intermediate_size",
                                          "vocab_size",
                                          "max_position_embeddings",
                                          "type_vocab_size",
                                          "hidden_act",
                                          "hidden_dropout_prob",
                                          "attention_probs_dropout_prob",
                                          "layer_norm_eps",
                                          "initializer_range",
                                          "pad_token_id",
                                          "bos_token_id",
                                          "eos_token_id",
                                          "sep_token_id",
                                          "tie_word_embeddings",
                                          "position_embedding_type",
                                          "use_cache",
                                          "classifier_dropout",
                                          "is_decoder",
                                          "add_cross_attention",
                                          "gradient_checkpointing",
                                          "auto_map",
                                          "_name_or_path",
                                          "transformers_version"};

void TakeHead(const json& o, std::string_view source, const WeightHeads& weights, BertConfig* c) {
  const bool bert = c->family == BertFamily::kBert;
  const std::string prefix = bert ? "Bert" : "Roberta";
  std::vector<std::string> classes;
  for (const ClassEnd& end : kClasses) classes.push_back(prefix + std::string(end.name));
  std::vector<HeadClass> known;
  for (std::size_t i = 0; i < classes.size(); ++i) known.push_back({kClasses[i].head, classes[i]});
  const std::vector<std::string> names = Architectures(o, source);
  const bool one = names.size() == 1;
  Check(!one || std::find(classes.begin(), classes.end(), names[0]) != classes.end(),
        ErrorCode::kFormat,
        "{}: architectures '{}' cannot become a Longformer; use {}Model, {}ForMaskedLM or a class "
        "for classification, question answering or multiple choice",
        source, one ? io::Escape(names[0]) : "", prefix, prefix);
  HeadRules rules{prefix};
  rules.masked = rules.tokens = true;
  rules.bare_pooled = bert;
  const HeadKind found = ParseHead(o, source, known, rules, weights, HeadKind::kNone);
  for (std::size_t i = 0; i < classes.size(); ++i) {
    if (kClasses[i].head != found) continue;
    c->head = found;
    c->architecture = one ? names[0] : classes[i];
    return;
  }
}

}  // namespace

std::string LongformerClassOf(HeadKind head) {
  for (const ClassEnd& end : kClasses) {
    if (end.head == head) return "Longformer" + std::string(end.name);
  }
  return {};
}

BertConfig ParseBertConfig(const json& o, std::string_view source, const WeightHeads& weights) {
  Check(o.is_object(), ErrorCode::kFormat, "{}: not a JSON object", source);
  const std::string type = io::GetString(o, "model_type", io::kRequired, source);
  Check(type == "bert" || type == "roberta", ErrorCode::kFormat,
        "{}: model_type '{}' cannot become a Longformer; need bert or roberta", source,
        io::Escape(type));
  BertConfig c;
  if (type == "roberta") {
    c.family = BertFamily::kRoberta;
    c.vocab_size = 50265;
    c.pad_token = 1;
    c.bos_token = 0;
    c.eos_token = 2;
  }
  TakeHead(o, source, weights, &c);
  const auto size = [&](const char* field, idx_t most, idx_t fallback) {
    return io::GetInt(o, field, 1, most, fallback, source);
  };
  c.hidden_size = size("hidden_size", limits::kChannels, c.hidden_size);
  c.layers = size("num_hidden_layers", limits::kLayers, c.layers);
  c.heads = size("num_attention_heads", limits::kChannels, c.heads);
  c.feed_forward_size = size("intermediate_size", limits::kChannels, c.feed_forward_size);
  c.vocab_size = size("vocab_size", limits::kVocabulary, c.vocab_size);
  c.positions = size("max_position_embeddings", limits::kReformerTokens, c.positions);
  c.token_types = size("type_vocab_size", limits::kChannels, c.token_types);
  Check(c.hidden_size % c.heads == 0, ErrorCode::kFormat,
        "{}: hidden_size {} is no multiple of num_attention_heads {}", source, c.hidden_size,
        c.heads);
  const auto token = [&](const char* field, idx_t fallback) {
    return io::GetOptionalInt(o, field, 0, c.vocab_size - 1, source).value_or(fallback);
  };
  c.pad_token = token("pad_token_id", c.pad_token);
  c.bos_token = token("bos_token_id", c.bos_token);
  c.eos_token = token("eos_token_id", c.eos_token);
  Check(c.longest() >= 1, ErrorCode::kFormat,
        "{}: max_position_embeddings {} leave no row for a token behind pad_token_id {}", source,
        c.positions, c.pad_token);
  c.activation = io::GetString(o, "hidden_act", c.activation, source);
  c.hidden_dropout = io::GetDropout(o, "hidden_dropout_prob", c.hidden_dropout, source);
  c.attention_dropout =
      io::GetDropout(o, "attention_probs_dropout_prob", c.attention_dropout, source);
  c.layer_norm_eps = io::GetFloat(o, "layer_norm_eps", 1e-30, 1.0, c.layer_norm_eps, source);
  c.initializer_range = io::GetFloat(o, "initializer_range", 0.0, 1e6, c.initializer_range, source);
  c.tied = io::GetBool(o, "tie_word_embeddings", true, source);
  const std::string positions = io::GetString(o, "position_embedding_type", "absolute", source);
  Check(positions == "absolute", ErrorCode::kFormat,
        "{}: position_embedding_type '{}' cannot become a Longformer, whose positions are absolute",
        source, io::Escape(positions));
  Check(!io::GetBool(o, "is_decoder", false, source), ErrorCode::kFormat,
        "{}: is_decoder is true; a Longformer looks both ways", source);
  Check(c.head != HeadKind::kMaskedLm || c.family == BertFamily::kRoberta || c.activation == "gelu",
        ErrorCode::kFormat,
        "{}: hidden_act '{}' stands in BERT's masked-language head too, a Longformer's has gelu",
        source, io::Escape(c.activation));
  return c;
}

std::string LongformerConfigText(const json& original, const BertConfig& c,
                                 const LabelFields& labels, idx_t max_tokens, idx_t window,
                                 idx_t cls_token, idx_t sep_token) {
  json o = json::object();
  for (const auto& [field, value] : original.items()) {
    const bool replaced =
        std::find(std::begin(kReplaced), std::end(kReplaced), field) != std::end(kReplaced);
    if (!replaced) o[field] = value;
  }
  o["model_type"] = "longformer";
  o["architectures"] = {LongformerClassOf(c.head)};
  o["attention_window"] = std::vector<idx_t>(static_cast<std::size_t>(c.layers), 2 * window);
  o["hidden_size"] = c.hidden_size;
  o["num_hidden_layers"] = c.layers;
  o["num_attention_heads"] = c.heads;
  o["intermediate_size"] = c.feed_forward_size;
  o["vocab_size"] = c.vocab_size;
  o["max_position_embeddings"] = max_tokens + c.pad_token + 1;
  o["type_vocab_size"] = c.token_types;
  o["hidden_act"] = c.activation;
  o["hidden_dropout_prob"] = c.hidden_dropout;
  o["attention_probs_dropout_prob"] = c.attention_dropout;
  o["layer_norm_eps"] = c.layer_norm_eps;
  o["initializer_range"] = c.initializer_range;
  o["pad_token_id"] = c.pad_token;
  o["tie_word_embeddings"] = c.tied;
  // BERT's configs do not name these; its vocabulary does.
  const idx_t begin = c.bos_token >= 0 ? c.bos_token : cls_token;
  const idx_t end = c.eos_token >= 0 ? c.eos_token : sep_token;
  const idx_t separator = sep_token >= 0 ? sep_token : end;
  if (begin >= 0) o["bos_token_id"] = begin;
  if (end >= 0) o["eos_token_id"] = end;
  if (separator >= 0) o["sep_token_id"] = separator;
  if (c.head == HeadKind::kSequence || c.head == HeadKind::kToken) {
    o.erase("num_labels");
    o.erase("_num_labels");
    WriteLabels(labels.names, ProblemType::kInferred, &o);
  }
  return io::DumpJson(o);
}

}  // namespace longspan
