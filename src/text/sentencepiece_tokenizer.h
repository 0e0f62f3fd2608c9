// The tokenizer of a spiece.model: the SentencePiece library with Hugging Face's special tokens.
#pragma once

#include <memory>
#include <string_view>

#include "base/limits.h"
#include "text/sentencepiece_file.h"
#include "text/subword_tokenizer.h"

namespace longspan::text {

// The pieces as a vocabulary. kFormat.
Vocabulary VocabularyOf(const SentencePieceFile& file, std::string_view source);

// Long texts go through the library in pieces: it takes much memory for each byte. They are cut
// before a space between letters where the model has no piece that goes across one, and have the
// tokens of the whole text then. Where there is no such space in half a piece, tokens beside the
// cut may be others. (The library adds scores in fp32 over all that it is given at once, so that a
// Unigram model's ids of a whole text may differ from these by rounding.)
struct SentencePieceCut {
  std::size_t bytes = limits::kSentencePieceBytes;     // of a piece at most
  std::size_t wide = limits::kSentencePieceWideBytes;  // of those that are not ASCII
};

// `bytes` are those that `file` was read from. Of `parts` the vocabulary, the added tokens (which
// are looked for in the text as it stands), the special ids and the longest row count. Each text
// between added tokens is encoded by itself, as Hugging Face's ReformerTokenizer does it; invalid
// UTF-8 is repaired first. kFormat when the library refuses the model.
std::unique_ptr<Tokenizer> MakeSentencePieceTokenizer(TokenizerParts parts,
                                                      const SentencePieceFile& file,
                                                      std::string_view bytes,
                                                      std::string_view source,
                                                      const SentencePieceCut& cut = {});

}  // namespace longspan::text
