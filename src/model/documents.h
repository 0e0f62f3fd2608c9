// Documents side by side in the rows of a batch. Internal.
#pragma once

#include <span>

#include "base/rng.h"
#include "longspan/types.h"

namespace longspan {

// Calls use(d, begin, length) for each document, `begin` its first token of all rows.
template <class Use>
void ForEachDocument(std::span<const idx_t> lengths, const Use& use) {
  idx_t begin = 0;
  for (std::size_t d = 0; d < lengths.size(); begin += lengths[d++]) {
    use(static_cast<idx_t>(d), begin, lengths[d]);
  }
}

// Pairs of two tokens of one text: rows of so many tokens, or with `starts` the texts of one row.
inline double PairsOfTexts(idx_t rows, idx_t tokens, std::span<const idx_t> starts) {
  const auto square = [](idx_t n) { return static_cast<double>(n) * static_cast<double>(n); };
  double pairs = starts.empty() ? static_cast<double>(rows) * square(tokens) : 0.0;
  for (std::size_t d = 1; d < starts.size(); ++d) pairs += square(starts[d] - starts[d - 1]);
  return pairs;
}

// Throws kUsage unless the documents fill B rows of T tokens and none crosses a row's end.
void CheckDocuments(std::span<const idx_t> lengths, idx_t rows, idx_t tokens);

// Each document draws its own masks.
inline Dropout DocumentSite(Dropout site, idx_t document) {
  site.key = DeriveKey(site.key, static_cast<std::uint64_t>(document));
  return site;
}

}  // namespace longspan
