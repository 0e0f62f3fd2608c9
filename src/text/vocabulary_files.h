// Vocabularies and merges as their files spell them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/vocabulary.h"

namespace longspan::text {

// All of these throw kFormat in one line with `source`, the place and the value.

// {"token": id, ...}: vocab.json, and the section of tokenizer.json.
Vocabulary VocabularyOf(const nlohmann::json& object, std::string_view source);

// vocab.txt: a token a line, ids from 0. White space at a line's end is no part of the token.
Vocabulary ParseVocabTxt(std::string_view text, std::string_view source);

// merges.txt: "left right" a line, the first merge first; lines that begin with #version are none.
std::vector<std::pair<std::string, std::string>> ParseMerges(std::string_view text,
                                                             std::string_view source);
// One of them.
std::pair<std::string, std::string> SplitMerge(std::string_view merge, std::string_view where);

}  // namespace longspan::text
