// What models need of a batch beside longspan/batch.h.
#pragma once

#include "longspan/batch.h"
#include "model/documents.h"

namespace longspan {

// The roles of the document that begins at token `begin` of all rows, as one row.
TokenRoles DocumentRoles(const TokenRoles& roles, idx_t begin, idx_t length);

// The texts of a batch, over all rows in order, are its documents or else its rows.
//
// Calls use(text, begin, length) for each, `begin` its first token of all rows.
template <class Use>
void ForEachText(const BatchView& batch, const Use& use) {
  if (!batch.documents.empty()) return ForEachDocument(batch.documents, use);
  for (idx_t b = 0; b < batch.rows; ++b) use(b, b * batch.tokens, batch.tokens);
}
std::vector<idx_t> TextLengths(const BatchView& batch);
// Where each begins, and B*T: as attention takes many texts in one call.
std::vector<idx_t> TextBorders(const BatchView& batch);
inline idx_t TextCount(const BatchView& batch) {
  return batch.documents.empty() ? batch.rows : static_cast<idx_t>(batch.documents.size());
}

// Throws kUsage unless ids, roles and documents are those of B >= 1 rows of T >= 1 tokens, and
// kLimit for more tokens than the 32-bit row numbers of a stream count.
void CheckBatchShape(const BatchView& batch);

// The global tokens of a batch: its owner's, or found now.
class FoundGlobals {
 public:
  explicit FoundGlobals(const BatchView& batch);
  FoundGlobals(const FoundGlobals&) = delete;
  FoundGlobals& operator=(const FoundGlobals&) = delete;
  const GlobalTokenRows& get() const { return *globals_; }

 private:
  GlobalTokenRows found_;
  const GlobalTokenRows* globals_;
};

}  // namespace longspan
