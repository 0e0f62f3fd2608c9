// A vocabulary of one's own: BPE or Unigram, learnt by the SentencePiece library.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/tokenizer_training.h"

namespace longspan::text {

// spiece.model for `texts`, in pieces of at most 16 KiB that end with a line. The same texts and
// options give the same bytes, whatever the machine: the library works on one thread. Invalid UTF-8
// is repaired; the characters U+2585 and zero, which the library keeps for itself, are left out.
// kFormat for an empty text; kUsage for options out of range, and when the text has more characters
// than the vocabulary has room for, or too few pieces to fill it; the message says how many.
std::string TrainSentencePiece(
    const std::vector<std::string_view>& texts, const TokenizerTraining& options,
    const std::function<void(const TokenizerTrainingEvent&)>& on_event = {});
// The same under a CancelScope, which ends it within a second though the library asks nobody: it
// learns on a thread of its own, which is left to itself then and goes on until it has learnt.
// `owner` holds the memory of the texts for as long as that takes. on_event is called on the thread
// that made the call, for the newest event alone where several have come. Without a scope it is the
// function above.
std::string TrainSentencePiece(const std::vector<std::string_view>& texts,
                               const TokenizerTraining& options,
                               const std::function<void(const TokenizerTrainingEvent&)>& on_event,
                               std::shared_ptr<const void> owner);

// spiece.model, tokenizer.json (the same tokenizer for the `tokenizers` package) and
// tokenizer_config.json, each whole or not at all. kIo.
void WriteTokenizer(const std::string& model, const std::filesystem::path& directory);

}  // namespace longspan::text
