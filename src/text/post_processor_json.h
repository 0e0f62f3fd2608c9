// The section post_processor of tokenizer.json: special tokens around a text, and offsets.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "text/subword_tokenizer.h"

namespace longspan::text {

// Fills the templates, the treatment of offsets and, where they are told, the ids of cls and sep.
void ReadPostProcessor(const nlohmann::json& object, std::string where, TokenizerParts& parts);

// <s> A </s>, <s> A </s></s> B </s>, all of type 0.
void UseRobertaTemplate(std::int32_t cls, std::int32_t sep, TokenizerParts& parts);
// [CLS] A [SEP], [CLS] A [SEP] B [SEP], the second text and its separator of type 1.
void UseBertTemplate(std::int32_t cls, std::int32_t sep, TokenizerParts& parts);

}  // namespace longspan::text
