// A vocabulary of one's own, learnt from texts by the SentencePiece library.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "longspan/context.h"
#include "longspan/data.h"
#include "longspan/types.h"

#pragma GCC visibility push(default)
namespace longspan::text {

enum class PieceAlgorithm { kBpe, kUnigram };

// What a tokenizer learns, and from what.
struct TokenizerTraining {
  PieceAlgorithm algorithm = PieceAlgorithm::kBpe;  // how pieces are found
  idx_t vocabulary = 8000;                          // pieces, with <unk>, <s>, </s> and the bytes'
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

// How far the learning is.
struct TokenizerTrainingEvent {
  idx_t bytes = 0, all_bytes = 0;  // read so far; equal: the library works
};

// What was learnt.
struct TokenizerTrainingResult {
  std::string kind;      // as text::Tokenizer::kind()
  idx_t vocabulary = 0;  // pieces
  idx_t text_bytes = 0;  // that were learnt from
  // What the tokenizer makes of the text's first `sample_bytes`.
  idx_t sample_bytes = 0, sample_tokens = 0, sample_unknown = 0;
  std::vector<std::string> notes;  // about rows that were left out: lines for people
};

// Learns a tokenizer from files and folders, and writes spiece.model, the same as tokenizer.json
// for the `tokenizers` package, and tokenizer_config.json into `output`, each whole or not at all.
// The same texts and options give the same bytes. `overwrite` replaces a tokenizer, and nothing
// else: a folder with other files is refused (kUsage). kFormat for texts that cannot be read or are
// empty; kUsage for options out of range, and when the text has more characters than the
// vocabulary has room for, or too few pieces to fill it; kIo.
TokenizerTrainingResult TrainTokenizer(
    const std::vector<std::filesystem::path>& files, const std::filesystem::path& output,
    const TokenizerTraining& options, const DataOptions& data = {}, bool overwrite = false,
    const std::function<void(const TokenizerTrainingEvent&)>& on_event = {});
// The same for a caller who can end it (Context::CancelWhen): Cancelled within a second, and the
// folder is as it was. The SentencePiece library cannot be asked to end while it learns, so it
// learns on a thread of its own. When the call is cancelled, that thread goes on until the library
// has ended, with the texts in memory, and what it makes is dropped. Events may be fewer, and the
// last one is told always. Bits are those of the call without a context.
TokenizerTrainingResult TrainTokenizer(
    Context& context, const std::vector<std::filesystem::path>& files,
    const std::filesystem::path& output, const TokenizerTraining& options,
    const DataOptions& data = {}, bool overwrite = false,
    const std::function<void(const TokenizerTrainingEvent&)>& on_event = {});

}  // namespace longspan::text
#pragma GCC visibility pop
