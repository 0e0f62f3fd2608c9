// What files and options may ask for at most. Whatever asks for more is refused, with both numbers,
// before memory or time is spent on it. docs/reference/limits.md is the same list for users.
#pragma once

#include <cstddef>
#include <cstdint>

#include "longspan/types.h"

namespace longspan::limits {

// ---- texts and tables (src/data) ----------------------------------------------------------------
inline constexpr std::size_t kMostTableFields = 4096;       // of a record
inline constexpr std::size_t kMostFolderFiles = 1'000'000;  // below a folder
inline constexpr int kMostFieldDepth = 16;                  // JSON that is used
inline constexpr std::size_t kMostFieldValues = 1'000'000;
inline constexpr std::size_t kMostTsvTryBytes = std::size_t{256} << 20;  // read for nothing
// Of a chunk of texts that are sorted by length and run together; more bytes only with one text. It
// is what ranks deal and what --resume has or has not: four batches or so of 8,192 tokens.
inline constexpr std::size_t kChunkTexts = 512, kChunkBytes = std::size_t{128} << 10;

// ---- weights and archives (src/io) --------------------------------------------------------------

inline constexpr std::size_t kJsonBytes = std::size_t{16} << 20;  // of a config or an index
inline constexpr int kJsonDepth = 64;                             // nested objects and arrays
inline constexpr std::size_t kJsonValues = 2'000'000;

inline constexpr std::uint64_t kSafetensorsHeader = 100'000'000;   // bytes
inline constexpr int kSafetensorsDepth = 16;                       // the format itself needs 3
inline constexpr std::size_t kHeaderText = std::size_t{16} << 20;  // bytes of a string in a header
inline constexpr std::size_t kHeaderNumber = 64;                   // digits of a number in it
inline constexpr std::size_t kMetadataEntries = 100'000;
inline constexpr std::size_t kTensors = 1'000'000;  // of a file, and of all shards together
inline constexpr std::size_t kTensorName = 4096;    // bytes
inline constexpr std::size_t kTensorRank = 16;
inline constexpr std::size_t kShards = 4096;

inline constexpr std::uint64_t kZipDirectory = std::uint64_t{64} << 20;  // bytes
inline constexpr std::size_t kZipEntries = 1'000'000;
inline constexpr std::size_t kZipName = 4096;  // bytes

inline constexpr std::size_t kPickle = std::size_t{16} << 20;  // bytes
inline constexpr std::size_t kPickleOperations = 1'000'000;
inline constexpr std::size_t kPickleStack = 10'000;
inline constexpr std::size_t kPickleMemo = 100'000;

// Tensors of a .bin may share storages (tied weights). What all of them have together, in times of
// what the file has; and the same of those whose elements do not lie side by side.
inline constexpr std::uint64_t kSharedStorage = 64;
inline constexpr std::uint64_t kSharedViews = 4;

inline constexpr std::uint64_t kManifest = std::uint64_t{1} << 20;  // bytes, of a checkpoint
inline constexpr std::size_t kToldTensors = 10;                     // by name, in one message

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

// Of a head, in config.json: twice as many names and ids are fewer values than a JSON file may
// have.
inline constexpr idx_t kMostLabels = idx_t{1} << 19;
inline constexpr idx_t kMostLabelGaps = 4096;         // classes without a name between named ones
inline constexpr std::size_t kMostLabelBytes = 4096;  // of one label's name

// ---- sentence-transformers folders (src/tasks) --------------------------------------------------

inline constexpr std::size_t kMostSentenceModules = 16;                // of modules.json
inline constexpr idx_t kMostVectorChannels = idx_t{1} << 20;           // in or out of a module
inline constexpr idx_t kMostSentenceTokens = idx_t{1} << 31;           // max_seq_length
inline constexpr std::size_t kMostPrompts = 4096;                      // of one folder
inline constexpr std::size_t kMostPromptBytes = std::size_t{1} << 16;  // of one prompt

// ---- files of vectors (src/tasks) ---------------------------------------------------------------

inline constexpr std::size_t kMostNpyHeader = std::size_t{1} << 16;       // bytes
inline constexpr std::size_t kMostVectorLine = std::size_t{1} << 26;      // bytes of a line of JSON
inline constexpr std::size_t kMostVectorDocument = std::size_t{1} << 28;  // bytes of a .json
inline constexpr std::size_t kMostVectorDocumentValues = std::size_t{1} << 25;
// Bounds that no model on one machine exceeds; products of two stay far from overflow.
inline constexpr idx_t kChannels = idx_t{1} << 20;    // of a hidden state, of all heads
inline constexpr idx_t kVocabulary = idx_t{1} << 24;  // words, token types
inline constexpr idx_t kLayers = 4096;
inline constexpr idx_t kReformerTokens = idx_t{1} << 31;    // positions, axes of their tables
inline constexpr idx_t kLongformerTokens = idx_t{1} << 30;  // positions, windows
inline constexpr idx_t kConvertedTokens = idx_t{1} << 24;   // that a conversion makes room for
inline constexpr idx_t kConvertedWindow = idx_t{1} << 20;   // to one side
inline constexpr idx_t kChunk = idx_t{1} << 20;             // tokens of a chunk of attention
inline constexpr idx_t kNeighbourChunks = 1024;             // before or after
inline constexpr idx_t kHashRounds = 1024;
inline constexpr idx_t kBuckets = 65535;  // ids have 16 bits, and one is for hidden tokens
inline constexpr std::size_t kGlobalNumbers = 1'000'000;               // in a --global
inline constexpr std::size_t kEndTokens = 1024;                        // eos_token_id as a list
inline constexpr std::size_t kVocabularyFile = std::size_t{64} << 20;  // bytes

}  // namespace longspan::limits
