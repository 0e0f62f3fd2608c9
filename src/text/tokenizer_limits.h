// What a tokenizer's files may ask for at most. Everything above is refused before memory or time
// is spent on it.
#pragma once

#include "base/limits.h"
#include "io/json.h"

namespace longspan::text {

using limits::kLongestToken;
using limits::kLongestWord;
using limits::kMostAddedTokens;
using limits::kMostSteps;
using limits::kMostTemplatePlaces;
using limits::kMostTokenizerBytes;
using limits::kMostTokenizerValues;
using limits::kMostVocabularyEntries;

inline constexpr io::JsonLimits kTokenizerJson{kMostTokenizerBytes, limits::kMostTokenizerDepth,
                                               kMostTokenizerValues};

}  // namespace longspan::text
