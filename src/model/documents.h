// Documents side by side in the rows of a batch. Internal.
#pragma once

#include <memory>
#include <span>

#include "base/rng.h"
#include "model/attention_layer.h"

namespace longspan {

// Calls use(d, begin, length) for each document, `begin` its first token of all rows.
template <class Use>
void ForEachDocument(std::span<const idx_t> lengths, const Use& use) {
  idx_t begin = 0;
  for (std::size_t d = 0; d < lengths.size(); begin += lengths[d++]) {
    use(static_cast<idx_t>(d), begin, lengths[d]);
  }
}

// kUsage unless the documents fill B rows of T tokens and none lies in two.
void CheckDocuments(std::span<const idx_t> lengths, idx_t rows, idx_t tokens);

// Each document draws by itself.
inline Dropout DocumentSite(Dropout site, idx_t document) {
  site.key = DeriveKey(site.key, static_cast<std::uint64_t>(document));
  return site;
}

// `inner` on whole rows, or, where a call has documents, on one document after the other: each as
// if it were a row of its own. Exact for every mechanism; costs a call a document, so that
// documents of less than a few chunks keep few threads busy.
std::unique_ptr<AttentionMechanism> ByDocument(std::unique_ptr<AttentionMechanism> inner);

}  // namespace longspan
