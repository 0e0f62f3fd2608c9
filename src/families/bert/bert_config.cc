#include "families/bert/bert_config.h"

#include <algorithm>
#include <vector>

#include "base/errors.h"
#include "base/limits.h"
#include "io/json.h"
#include "longspan/files.h"
#include "model/weight_heads.h"

namespace longspan {
namespace {

using nlohmann::json;

// The classes of a type, all of which begin with its own word.
#define LONGSPAN_BERT_HEADS(Name)                                               \
  {                                                                             \
    {HeadKind::kNone, Name "Model"}, {HeadKind::kMaskedLm, Name "ForMaskedLM"}, \
        {HeadKind::kSequence, Name "ForSequenceClassification"},                \
        {HeadKind::kToken, Name "ForTokenClassification"},                      \
        {HeadKind::kQuestion, Name "ForQuestionAnswering"}, {                   \
      HeadKind::kChoice, Name "ForMultipleChoice"                               \
    }                                                                           \
  }
constexpr HeadClass kBertHeads[] = LONGSPAN_BERT_HEADS("Bert");
constexpr HeadClass kRobertaHeads[] = LONGSPAN_BERT_HEADS("Roberta");
constexpr HeadClass kXlmRobertaHeads[] = LONGSPAN_BERT_HEADS("XLMRoberta");
constexpr HeadClass kCamembertHeads[] = LONGSPAN_BERT_HEADS("Camembert");
#undef LONGSPAN_BERT_HEADS

constexpr BertType kBertTypes[] = {
    {"bert", "BERT", "bert.", kBertHeads, true, 30522, "BertTokenizer"},
    {"roberta", "RoBERTa", "roberta.", kRobertaHeads, false, 50265, "RobertaTokenizer"},
    {"xlm-roberta", "XLM-RoBERTa", "roberta.", kXlmRobertaHeads, false, 250002,
     "XLMRobertaTokenizer"},
    {"camembert", "CamemBERT", "roberta.", kCamembertHeads, false, 32005, "CamembertTokenizer"},
};

// Without a model_type the class says it.
const BertType& TypeIn(const json& o, std::string_view source) {
  if (!io::IsNullOrAbsent(o, "model_type")) {
    return BertTypeNamed(io::GetString(o, "model_type", io::kRequired, source), source);
  }
  for (const std::string& name : Architectures(o, source)) {
    for (const BertType& type : kBertTypes) {
      for (const HeadClass& head : type.heads) {
        if (head.class_name == name) return type;
      }
    }
  }
  return kBertTypes[0];
}

HeadKind HeadOf(const json& o, std::string_view source, const std::optional<WeightHeads>& weights,
                const BertType& type) {
  std::vector<HeadClass> known(type.heads.begin(), type.heads.end());
  // It has a second head, of whole texts, which is left out.
  if (type.bert) known.push_back({HeadKind::kMaskedLm, "BertForPreTraining"});
  HeadRules rules{type.title};
  rules.masked = rules.tokens = true;
  rules.bare_pooled = type.bert;
  return ParseHead(o, source, known, rules, weights, HeadKind::kNone);
}

void CheckIsEncoder(const json& o, std::string_view source, const BertType& type) {
  for (const char* field : {"is_decoder", "add_cross_attention"}) {
    Check(!io::GetBool(o, field, false, source), ErrorCode::kFormat,
          "{}: {} is true; a {} is read as an encoder, whose tokens see their whole text: decoders "
          "are not computed",
          source, field, type.title);
  }
  const std::string positions = io::GetString(o, "position_embedding_type", "absolute", source);
  Check(positions == "absolute", ErrorCode::kFormat,
        "{}: position_embedding_type '{}' is not computed; need 'absolute'", source,
        io::Escape(positions));
}

struct BertSizes {
  std::string_view name;
  idx_t hidden, heads;
  std::size_t layers;
};
constexpr BertSizes kSizes[] = {
    {"tiny", 128, 2, 2},
    {"mini", 256, 4, 4},
    {"small", 512, 8, 4},
    {"base", 768, 12, 12},
};

}  // namespace

std::span<const BertType> BertTypes() { return kBertTypes; }

const BertType& BertTypeNamed(std::string_view name, std::string_view source) {
  std::string names;
  for (const BertType& type : kBertTypes) {
    if (type.name == name) return type;
    names.append(names.empty() ? "" : ", ").append(type.name);
  }
  Fail(ErrorCode::kFormat, "{}: model_type '{}' is not supported; need one of {}", source,
       io::Escape(name), names);
}

BertConfig::BertConfig(const BertType& of) : type(&of) {
  positions_by_id = !of.bert;
  sep_token.reset();
  if (of.bert) {
    pad_token = 0;
    bos_token.reset();
    eos_token.reset();
  }
  if (of.name == "roberta") vocab_size = of.vocab_size;
}

BertConfig ParseBertConfig(const json& o, std::string_view source,
                           const std::optional<WeightHeads>& weights) {
  io::CheckObject(o, source);
  const BertType& type = TypeIn(o, source);
  BertConfig c(type);
  c.head = HeadOf(o, source, weights, type);
  CheckIsEncoder(o, source, type);
  c.layer_count =
      static_cast<std::size_t>(io::GetInt(o, "num_hidden_layers", 1, limits::kLayers, 12, source));
  ParsePostNormFields(o, source, limits::kLongformerTokens, &c);
  if (!io::IsNullOrAbsent(o, "classifier_dropout")) {
    c.classifier_dropout = io::GetDropout(o, "classifier_dropout", 0.0, source);
  }
  ParsePostNormLabels(o, source, weights, c.class_name(), &c);
  return c;
}

BertConfig ParseBertConfig(std::string_view text, std::string_view source) {
  return ParseBertConfig(io::ParseJson(text, source), source, std::nullopt);
}

BertConfig LoadBertConfig(const ModelFolder& folder) {
  const BertType& type = BertTypeNamed(folder.type, folder.source());
  json object = folder.config;
  object["model_type"] = type.name;  // old files have none
  return ParseBertConfig(object, folder.source(),
                         DecidingWeights(folder.config, folder.config_file));
}

std::string ToJson(const BertConfig& c) {
  json o = json::object();
  o["model_type"] = c.type->name;
  o["architectures"] = {c.class_name()};
  WritePostNormFields(c, c.layers(), &o);
  if (!c.sep_token) o.erase("sep_token_id");  // the original has none
  o["classifier_dropout"] = c.classifier_dropout ? json(*c.classifier_dropout) : json(nullptr);
  return io::DumpJson(o);
}

// Query, key and value.
std::uint64_t ParameterCount(const BertConfig& c) {
  return PostNormParameterCount(c, c.layers(), 3, c.has_pooler() || c.head == HeadKind::kSequence);
}

BertConfig BertPreset(const BertType& type, std::string_view name) {
  std::string names;
  for (const BertSizes& sizes : kSizes) {
    names.append(names.empty() ? "" : ", ").append(sizes.name);
    if (sizes.name != name) continue;
    BertConfig c(type);
    c.head = HeadKind::kMaskedLm;
    c.layer_count = sizes.layers;
    c.vocab_size = type.vocab_size;
    c.hidden_size = sizes.hidden;
    c.heads = sizes.heads;
    c.feed_forward_size = 4 * sizes.hidden;
    c.max_positions = 512 + c.first_position();
    if (!type.bert) {
      c.token_types = 1;
      c.layer_norm_eps = 1e-5;
    }
    return c;
  }
  Fail(ErrorCode::kUsage, "preset '{}' is unknown; use one of {}", io::Escape(name), names);
}

}  // namespace longspan
