// config.json of a BERT or RoBERTa, as far as its conversion to a Longformer needs it. Internal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "longspan/types.h"
#include "model/head_kind.h"
#include "model/label_fields.h"
#include "model/weight_heads.h"

namespace longspan {

enum class BertFamily { kBert, kRoberta };

struct BertConfig {
  BertFamily family = BertFamily::kBert;
  HeadKind head = HeadKind::kNone;
  std::string architecture;  // "BertModel"
  idx_t hidden_size = 768, layers = 12, heads = 12, feed_forward_size = 3072;
  idx_t vocab_size = 30522, positions = 512, token_types = 2, pad_token = 0;
  idx_t bos_token = -1, eos_token = -1;  // -1: none
  std::string activation = "gelu";
  double hidden_dropout = 0.1, attention_dropout = 0.1, layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  bool tied = true;

  // The first row of the position table that a token can have, and how many such rows there are.
  idx_t first_position() const { return family == BertFamily::kRoberta ? pad_token + 1 : 0; }
  idx_t longest() const { return positions - first_position(); }
};

// kFormat naming source, field, value and range; also for what a Longformer cannot be: a decoder,
// relative positions, another kind of model. The weights decide where the config does not name one
// class.
BertConfig ParseBertConfig(const nlohmann::json& object, std::string_view source,
                           const WeightHeads& weights);

// The Longformer's config.json: every field that has a meaning is written out, fields that neither
// knows are kept. `sep_token` < 0: the family's end token. `labels`: of a head over labels, as they
// were read.
std::string LongformerConfigText(const nlohmann::json& original, const BertConfig& config,
                                 const LabelFields& labels, idx_t max_tokens, idx_t window,
                                 idx_t cls_token, idx_t sep_token);

// "LongformerForMaskedLM".
std::string LongformerClassOf(HeadKind head);

}  // namespace longspan
