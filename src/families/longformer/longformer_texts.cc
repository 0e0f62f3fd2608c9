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
                                 bool backward, const RowGroup* group)
    : JoinedTexts(batch), split_(group != nullptr) {
  if (!batch.documents.empty()) {
    AddDocuments(config, batch, backward);
  } else {
    const FoundGlobals found(batch);
    all = found.get().tokens;
    global_rows = found.get().rows;
    if (Reassociates(config, tokens, all.most, backward)) {
      reassociated = all;
    } else if (all.most > 0) {
      projected = all;
      projected_rows = globals();
    }
  }
  if (group != nullptr) FindOwners(*group);
}

bool LongformerTexts::Reassociates(const LongformerConfig& config, idx_t length, idx_t count,
                                   bool backward) const {
  return count > 0 && !split_ && GlobalFlopsOf(config, length, count, backward).ReassociatedWins();
}

void LongformerTexts::FindOwners(const RowGroup& group) {
  borders.push_back(0);
  for (int r = 0; r < group.size(); ++r) {
    const TokenSlab slab = group.SlabOf(n(), r);
    for (idx_t g = 0; g < globals(); ++g) {
      const idx_t row = global_rows[static_cast<std::size_t>(g)];
      if (row < slab.begin || row >= slab.end) continue;
      by_rank.push_back(static_cast<std::int32_t>(g));
      if (r == group.rank()) own_rows.push_back(static_cast<std::int32_t>(row - slab.begin));
    }
    borders.push_back(static_cast<idx_t>(by_rank.size()));
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
    const bool wins = Reassociates(config, length, count, backward);
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
