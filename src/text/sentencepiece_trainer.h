// A vocabulary of one's own: BPE or Unigram, learnt by the SentencePiece library.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/types.h"
#include "text/sentencepiece_file.h"

namespace longspan::text {

struct TokenizerTraining {
  SentencePieceFile::Kind kind = SentencePieceFile::Kind::kBpe;
  idx_t vocabulary = 8000;  // pieces, with <unk>, <s>, </s> and the bytes'
  // A character without a piece becomes the pieces of its bytes, 256 of the vocabulary. Without it
  // such a character is <unk>, and a text does not come back.
  bool byte_fallback = true;
  // "identity": a text comes back as it was, line breaks, runs of spaces and all. The library's
  // "nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf" fold characters; with them white space becomes
  // single spaces.
  std::string normalization = "identity";
  // From 0.98: the share of the text's characters that get a piece; the rarest do not.
  double coverage = 1.0;
  idx_t longest_piece = 16;  // characters of a piece
};

struct TokenizerTrainingEvent {
  idx_t bytes = 0, all_bytes = 0;  // read so far; equal: the library works
};

// spiece.model for `texts`, in pieces of at most 16 KiB that end with a line. The same texts and
// options give the same bytes, whatever the machine: the library works on one thread. Invalid UTF-8
// is repaired; the characters U+2585 and zero, which the library keeps for itself, are left out.
// kFormat for an empty text; kUsage for options out of range, and when the text has more characters
// than the vocabulary has room for, or too few pieces to fill it; the message says how many.
std::string TrainSentencePiece(
    const std::vector<std::string_view>& texts, const TokenizerTraining& options,
    const std::function<void(const TokenizerTrainingEvent&)>& on_event = {});

// spiece.model, tokenizer.json (the same tokenizer for the `tokenizers` package) and
// tokenizer_config.json, each whole or not at all. kIo.
void WriteTokenizer(const std::string& model, const std::filesystem::path& directory);

}  // namespace longspan::text
