// config.json of a BERT, a RoBERTa and models that are RoBERTas by another name (XLM-RoBERTa,
// CamemBERT): Hugging Face's fields, defaults and meanings.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "longspan/types.h"
#include "model/head_kind.h"
#include "model/opened_folder.h"
#include "model/post_norm_fields.h"
#include "model/weight_names.h"

namespace longspan {

// What a model_type means.
struct BertType {
  std::string_view name;             // "roberta"
  std::string_view title;            // "RoBERTa"
  std::string_view prefix;           // before the encoder's names: "roberta."
  std::span<const HeadClass> heads;  // "RobertaModel", ...
  // BERT's own rules: positions count from 0, the masked LM's head has the layers' activation and
  // other names, and a sequence classifier is one layer after the pooler. Otherwise RoBERTa's.
  bool bert = false;
  idx_t vocab_size = 0;  // of the presets
  std::string_view tokenizer_class = {};
};
// BERT first.
std::span<const BertType> BertTypes();
// kFormat naming `source` for a model_type that is none of them.
const BertType& BertTypeNamed(std::string_view name, std::string_view source);

// A bare model, BERT's classes of sequences and the choices of all types have a pooler.
struct BertConfig : PostNormFields {
  explicit BertConfig(const BertType& of = BertTypes().front());

  const BertType* type;
  std::size_t layer_count = 12;
  std::optional<double> classifier_dropout;  // absent: hidden_dropout

  std::size_t layers() const { return layer_count; }
  std::string_view class_name() const { return ClassOf(type->heads, head); }
  ClassNames names() const { return {type->prefix, type->bert}; }
  bool has_pooler() const {
    return head == HeadKind::kChoice || (head == HeadKind::kNone && pooler) ||
           (head == HeadKind::kSequence && type->bert);
  }
  void SetDropout(double p) {
    PostNormFields::SetDropout(p);
    classifier_dropout.reset();
  }
};

// Throws kFormat naming `source`, the field, its value and its range; also for what is not
// computed: decoders, cross-attention, relative positions. Unknown fields are ignored, as Hugging
// Face ignores them. The weights decide where the config does not name one class.
BertConfig ParseBertConfig(const nlohmann::json& object, std::string_view source,
                           const std::optional<WeightHeads>& weights);
BertConfig ParseBertConfig(std::string_view json, std::string_view source);
// From a folder's config.json. What it leaves open is taken from the weights beside it
// (model/weight_heads.h). kIo, kFormat.
BertConfig LoadBertConfig(const ModelFolder& folder);

// Indented JSON that `transformers` reads back to the same model.
std::string ToJson(const BertConfig& config);

// Numbers to learn, from the config alone.
std::uint64_t ParameterCount(const BertConfig& config);

// Ready-made masked language models over the type's vocabulary. "base" has the sizes of
// bert-base and roberta-base, the others those of smaller BERTs (Turc et al. 2019).
inline constexpr std::string_view kBertPresets[] = {"tiny", "mini", "small", "base"};
BertConfig BertPreset(const BertType& type, std::string_view name);

}  // namespace longspan
