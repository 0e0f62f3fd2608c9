// spiece.model: the file of a SentencePiece model, read without believing it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"

namespace longspan::text {

enum class PieceType { kNormal = 1, kUnknown, kControlSymbol, kUserDefined, kUnused, kByte };

struct SentencePiece {
  std::string text;
  double score = 0.0;
  PieceType type = PieceType::kNormal;
};

// What is used of the file.
struct SentencePieceFile {
  enum class Kind { kUnigram = 1, kBpe };
  Kind kind = Kind::kUnigram;
  std::vector<SentencePiece> pieces;                     // by id
  std::int32_t unk = 0;                                  // the one piece of type kUnknown
  std::string bos = "<s>", eos = "</s>", pad = "<pad>";  // spellings; they need not be pieces
  bool byte_fallback = false;
  bool dummy_prefix = true;       // a space before the text
  bool drop_extra_spaces = true;  // spaces at the ends go, runs become one
  bool space_as_suffix = false;   // words end with a space instead of beginning with one
  // Whether a text may be cut before a space between letters: no piece goes across one.
  bool words_apart = true;
  bool byte_names = false;     // pieces are called "<0x41>"
  std::string characters_map;  // empty: characters stay as they are
};

// kFormat in one line with `source` and the place: for bytes that are no such model, one of words
// or characters, a piece that is empty, too long, there twice or without a finite score, no or two
// unknown pieces, byte_fallback without the 256 bytes' pieces, a map of characters that leads out
// of itself. kLimit for a map that makes more of a byte than a tokenizer may. What passes can be
// given to the library.
SentencePieceFile ReadSentencePieceFile(std::string_view bytes, std::string_view source);

// The same model for encoding: with a space before a text or without one, without its samples of
// what it makes of texts, and, when `byte_pieces`, with a piece more for each byte (ids behind
// those of the file) that stands for characters without a piece.
std::string EncodingModel(std::string_view bytes, bool dummy_prefix, bool byte_pieces);

}  // namespace longspan::text
