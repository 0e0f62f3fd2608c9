// config.json of the Longformer that a BERT or RoBERTa becomes. Internal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "families/bert/bert_config.h"
#include "model/label_fields.h"

namespace longspan {

// Every field that has a meaning is written out, fields that neither knows are kept. `sep_token` <
// 0: the family's end token. `labels`: of a head over labels, as they were read.
std::string LongformerConfigText(const nlohmann::json& original, const BertConfig& config,
                                 const LabelFields& labels, idx_t max_tokens, idx_t window,
                                 idx_t cls_token, idx_t sep_token);

}  // namespace longspan
