#include "model/joined_texts.h"

namespace longspan {

JoinedTexts::JoinedTexts(const BatchView& batch)
    : rows(batch.rows), tokens(batch.tokens), roles(batch.roles) {
  if (batch.documents.empty()) return;
  if (!roles.empty() && !roles.contiguous()) {
    for (idx_t b = 0; b < rows; ++b) {
      for (idx_t t = 0; t < tokens; ++t) joined_.push_back(roles(b, t));
    }
    roles.data = joined_.data();
  }
  tokens *= rows;
  rows = 1;
  if (!roles.empty()) roles = TokenRoles(roles.data, {rows, tokens});
  starts = TextBorders(batch);
}

double JoinedTexts::Pairs() const { return PairsOfTexts(rows, tokens, starts); }

}  // namespace longspan
