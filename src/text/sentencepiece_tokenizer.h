// The tokenizer of a spiece.model: the SentencePiece library with Hugging Face's special tokens.
#pragma once

#include <memory>
#include <string_view>

#include "text/sentencepiece_file.h"
#include "text/subword_tokenizer.h"

namespace longspan::text {

// The pieces as a vocabulary. kFormat.
Vocabulary VocabularyOf(const SentencePieceFile& file, std::string_view source);

// `bytes` are those that `file` was read from. Of `parts` the vocabulary, the added tokens (which
// are looked for in the text as it stands), the special ids and the longest row count. Each text
// between added tokens is encoded by itself, as Hugging Face's ReformerTokenizer does it; invalid
// UTF-8 is repaired first. kFormat when the library refuses the model.
std::unique_ptr<Tokenizer> MakeSentencePieceTokenizer(TokenizerParts parts,
                                                      const SentencePieceFile& file,
                                                      std::string_view bytes,
                                                      std::string_view source);

}  // namespace longspan::text
