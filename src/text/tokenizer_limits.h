// What a tokenizer's files may ask for at most. Everything above is refused before memory or time
// is spent on it.
#pragma once

#include <cstddef>

#include "io/json.h"
#include "longspan/types.h"

namespace longspan::text {

inline constexpr std::size_t kMostTokenizerBytes = std::size_t{64} << 20;  // of one file
inline constexpr std::size_t kMostTokenizerValues = 4'000'000;  // JSON values: tokens and merges
inline constexpr int kMostTokenizerDepth = 32;                  // nested JSON
inline constexpr idx_t kMostVocabularyEntries = 2'000'000;
inline constexpr std::size_t kLongestToken = 1024;  // bytes
inline constexpr std::size_t kMostAddedTokens = 100'000;
inline constexpr std::size_t kMostSteps = 64;           // of a normalizer, pre-tokenizer or decoder
inline constexpr std::size_t kMostTemplatePlaces = 64;  // special tokens and texts
inline constexpr idx_t kLongestWord = 1000;             // WordPiece's max_input_chars_per_word
inline constexpr double kNoLongest = 1e9;               // a larger model_max_length means none

inline constexpr io::JsonLimits kTokenizerJson{kMostTokenizerBytes, kMostTokenizerDepth,
                                               kMostTokenizerValues};

}  // namespace longspan::text
