// A tokenizer put together from the parts that its files describe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "longspan/tokenizer.h"
#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/subword_model.h"
#include "text/token_decoder.h"
#include "text/vocabulary.h"

namespace longspan::text {

// Everything that a tokenizer is made of.
struct TokenizerParts {
  // A place of the template that is put around a text: a special token, or the first (0) or
  // second (1) text.
  struct Place {
    int sequence = -1;
    std::int32_t id = 0;
    std::int32_t type = 0;
  };

  Vocabulary vocabulary;
  std::optional<std::variant<BpeModel, WordPieceModel, UnigramModel>> model;
  std::string_view kind;  // of the model, for people: "byte-level BPE"
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenDecoder decoder;
  std::vector<AddedToken> added;  // ids and contents unlike each other
  // Offsets leave the white space at a token's ends out; `prefix_space`: one less at the front of a
  // token at the text's start.
  bool trim_offsets = false, prefix_space = false;
  std::vector<Place> single{{0, 0, 0}}, pair{{0, 0, 0}, {1, 0, 1}};
  SpecialIds special;
  std::optional<idx_t> longest;  // tokens of a row that the model takes
};

// kFormat, naming `source`, when an added token's id is another token's, or a template has an id
// without a token.
std::unique_ptr<Tokenizer> MakeSubwordTokenizer(TokenizerParts parts, std::string_view source);

}  // namespace longspan::text
