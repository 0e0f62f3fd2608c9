// A SentencePiece model in the words of the `tokenizers` package.
#pragma once

#include <nlohmann/json.hpp>

#include "text/sentencepiece_file.h"

namespace longspan::text {

// tokenizer.json with the ids and decoding of the library for models whose pieces hold a space at
// their front only, as the library trains them. kFormat for one that puts spaces behind words.
nlohmann::ordered_json TokenizerJsonOf(const SentencePieceFile& file);

// tokenizer_config.json: the special tokens, and the class that takes tokenizer.json as it is.
nlohmann::ordered_json TokenizerConfigOf(const SentencePieceFile& file);

}  // namespace longspan::text
