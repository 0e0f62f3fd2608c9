// What files and options may ask for at most. Whatever asks for more is refused, with both numbers,
// before memory or time is spent on it. docs/limits.md is the same list for users.
#pragma once

#include <cstddef>
#include <cstdint>

#include "longspan/types.h"

namespace longspan::limits {

// ---- texts and tables (src/data) ----------------------------------------------------------------

// ---- weights and archives (src/io) --------------------------------------------------------------

// ---- tokenizers (src/text) ----------------------------------------------------------------------

// Files.
inline constexpr std::size_t kMostTokenizerBytes = std::size_t{64} << 20;  // of one file
inline constexpr std::size_t kMostTokenizerValues = 4'000'000;  // JSON values: tokens and merges
inline constexpr int kMostTokenizerDepth = 32;                  // nested JSON
inline constexpr idx_t kMostVocabularyEntries = 2'000'000;
inline constexpr idx_t kMostVocabularyGap = 1 << 16;  // ids above the number of entries
inline constexpr std::size_t kLongestToken = 1024;    // bytes
inline constexpr std::size_t kMostAddedTokens = 100'000;
inline constexpr std::size_t kMostSteps = 64;           // of a normalizer, pre-tokenizer or decoder
inline constexpr std::size_t kMostTemplatePlaces = 64;  // special tokens and texts
inline constexpr std::size_t kMostMapBytes = std::size_t{4} << 20;  // of a precompiled_charsmap
inline constexpr idx_t kLongestWord = 1000;   // WordPiece's max_input_chars_per_word
inline constexpr double kNoLongestRow = 1e9;  // a larger model_max_length means none

// Texts.
inline constexpr std::size_t kMostTextBytes = (std::size_t{1} << 31) - 1;  // at once
// What a tokenizer's steps make of a text, and of tokens, is at most kMostGrowth times its
// bytes and kGrowthRoom: characters and tokens in one direction, bytes in the other. U+FDFA, the
// character of which NFKD makes most, has 3 bytes and becomes 18 characters of 33 bytes.
inline constexpr std::size_t kMostGrowth = 16;
inline constexpr std::size_t kGrowthRoom = std::size_t{1} << 20;
// A text goes through the SentencePiece library in pieces of at most so many bytes, and so many
// that are not ASCII: each takes up to 200 bytes of memory, those that the model's map makes more
// of up to 2 kB.
inline constexpr std::size_t kSentencePieceBytes = std::size_t{1} << 20;
inline constexpr std::size_t kSentencePieceWideBytes = std::size_t{1} << 17;
inline constexpr std::size_t kMostBpeWords = 1 << 16;  // whose tokens are remembered in a text
inline constexpr std::size_t kLongestBpeWord = 64;     // bytes of one
inline constexpr std::size_t kMostHeldIds = 64;  // by a stream of ids that ends within a character

// ---- configs and models (src/model) -------------------------------------------------------------

}  // namespace longspan::limits
