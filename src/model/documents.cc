#include "model/documents.h"

#include "base/errors.h"

namespace longspan {

void CheckDocuments(std::span<const idx_t> lengths, idx_t rows, idx_t tokens) {
  idx_t at = 0;
  for (const idx_t length : lengths) {
    const idx_t room = tokens - at % tokens;
    Check(length >= 1 && length <= room && at < rows * tokens, ErrorCode::kUsage,
          "batch: a document of {} tokens at token {} of rows of {}", length, at, tokens);
    at += length;
  }
  Check(at == rows * tokens, ErrorCode::kUsage,
        "batch: documents of {} tokens together in {} rows of {}", at, rows, tokens);
}

}  // namespace longspan
