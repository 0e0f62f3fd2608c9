// What attention asks of a batch's texts, found once a pass: where they begin, and their global
// tokens with the form that the rows of each take.
#pragma once

#include <cstdint>
#include <vector>

#include "families/longformer/longformer_config.h"
#include "longspan/attention.h"
#include "model/batch.h"
#include "model/joined_texts.h"
#include "world/row_group.h"

namespace longspan {

// Work of the two forms of the global rows of one text in one layer; `backward`: with a backward.
GlobalFlops GlobalFlopsOf(const LongformerConfig& config, idx_t tokens, idx_t globals,
                          bool backward);

// A text's global rows take the form that is less work for it: that depends on nothing else, so its
// bits do not depend on the texts beside it. Rows that are whole texts have as many global rows
// each, and one form.
struct LongformerTexts : JoinedTexts {
  // `backward`: a backward pass follows. `group`: ranks that share the rows, or null. None of them
  // has the vectors of all tokens, so that every text is projected.
  LongformerTexts(const LongformerConfig& config, const BatchView& batch, bool backward,
                  const RowGroup* group = nullptr);

  GlobalTokens all, projected, reassociated;
  // Of the (B*T, C) stream, for each row of qg: first those of projected texts, then the others.
  std::vector<std::int32_t> global_rows;
  idx_t projected_rows = 0;

  idx_t globals() const { return static_cast<idx_t>(global_rows.size()); }

  // The rows of qg by the ranks that have their tokens: those of rank r are numbers
  // by_rank[borders[r]] to by_rank[borders[r + 1] - 1]. Empty without a group.
  std::vector<idx_t> borders;
  std::vector<std::int32_t> by_rank;
  std::vector<std::int32_t> own_rows;  // of this rank's stream, in that order

 private:
  bool Reassociates(const LongformerConfig& config, idx_t length, idx_t count, bool backward) const;
  void AddDocuments(const LongformerConfig& config, const BatchView& batch, bool backward);
  void FindOwners(const RowGroup& group);

  bool split_;
};

}  // namespace longspan
