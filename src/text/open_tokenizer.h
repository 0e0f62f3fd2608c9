// The tokenizer of a model directory.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "longspan/tokenizer.h"

namespace longspan::text {

// The first that the directory has of
//   tokenizer.json             as it describes itself;
//   vocab.json + merges.txt    byte-level BPE as RoBERTa, Longformer or GPT-2 use it;
//   vocab.txt                  WordPiece as BERT uses it;
//   spiece.model               SentencePiece as Reformer uses it, by its library;
//   config.json of a model of `byte_models` (model_type) with a vocabulary for bytes (258 or more):
//                              the built-in one;
// with tokenizer_config.json, special_tokens_map.json and added_tokens.json beside it. kFormat in
// one line when there is none of them, when one is damaged, and when one asks for something that is
// not read here; see docs/reference/tokenizers.md.
std::unique_ptr<Tokenizer> OpenTokenizer(const std::filesystem::path& directory,
                                         std::span<const std::string_view> byte_models = {});

}  // namespace longspan::text
