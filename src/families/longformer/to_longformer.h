// Converts a BERT or RoBERTa to a Longformer: the same weights with more positions.
#pragma once

#include <filesystem>

#include "io/tensor_source.h"
#include "model/conversion.h"

namespace longspan {

// Writes `out`, a folder that is not there yet, from a folder of Hugging Face's BertFor... or
// RobertaFor... classes; complete or not at all. With every token in the window and no global
// token, or all global attention on rows that see everything, its outputs are the original's.
//
// - Positions: a Longformer's first token has row pad + 1. RoBERTa's tables begin there too, and
//   their rows 0 to pad are kept; BERT's begin at row 0, and rows 0 to pad become zero (no token
//   that counts reads them). The old rows follow one another until N are there.
// - query, key and value are also the global projections.
// - BERT's sequence classifier has its pooler as the classifier's dense layer.
// - Tokenizer files and sentence-transformers' folders come along, with the new longest text.
//
// `check` opens what was written before `out` appears. kUsage for options that do
// not fit or an `out` that is there; kFormat for another kind of model or tensors that do not fit
// its config; kIo.
ConvertReport ToLongformer(const std::filesystem::path& in, const std::filesystem::path& out,
                           const ConvertOptions& options, const ConvertedCheck& check);

}  // namespace longspan
