#include "families/longformer/longformer_texts.h"

#include <algorithm>

#include "model/documents.h"

namespace longspan {
namespace {

// Appends the list of one text, or an empty one.
void AddText(const GlobalTokens& from, idx_t text, bool has, GlobalTokens* to) {
  if (has) {
    to->positions.insert(to->positions.end(), from.List(text), from.List(text) + from.Count(text));
    to->most = std::max(to->most, from.Count(text));
  }
  to->first.push_back(static_cast<idx_t>(to->positions.size()));
}

}  // namespace

GlobalFlops GlobalFlopsOf(const LongformerConfig& config, idx_t tokens, idx_t globals,
                          bool backward) {
  return CountGlobalFlops(tokens, config.hidden_size, config.heads, config.head_size(), globals,
                          backward);
}

LongformerTexts::LongformerTexts(const LongformerConfig& config, const BatchView& batch,
                                 bool backward)
    : JoinedTexts(batch) {
  if (!batch.documents.empty()) {
    AddDocuments(config, batch, backward);
    return;
  }
  const FoundGlobals found(batch);
  all = found.get().tokens;
  global_rows = found.get().rows;
  if (all.most == 0) return;
  if (GlobalFlopsOf(config, tokens, all.most, backward).ReassociatedWins()) {
    reassociated = all;
  } else {
    projected = all;
    projected_rows = globals();
  }
}

void LongformerTexts::AddDocuments(const LongformerConfig& config, const BatchView& batch,
                                   bool backward) {
  const FoundGlobals found(batch);
  all = found.get().tokens;
  projected.first.push_back(0);
  reassociated.first.push_back(0);
  std::vector<std::int32_t> others;
  ForEachDocument(batch.documents, [&](idx_t d, idx_t begin, idx_t length) {
    const idx_t count = all.Count(d);
    const bool wins =
        count > 0 && GlobalFlopsOf(config, length, count, backward).ReassociatedWins();
    AddText(all, d, !wins, &projected);
    AddText(all, d, wins, &reassociated);
    for (idx_t i = 0; i < count; ++i) {
      (wins ? others : global_rows).push_back(static_cast<std::int32_t>(begin + all.List(d)[i]));
    }
  });
  projected_rows = globals();
  global_rows.insert(global_rows.end(), others.begin(), others.end());
}

}  // namespace longspan
