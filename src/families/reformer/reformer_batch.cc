// Checks of a Reformer's batch.
#include "base/errors.h"
#include "base/limits.h"
#include "families/reformer/original_rules.h"
#include "families/reformer/reformer.h"
#include "model/documents.h"
#include "model/heads_exchange.h"
#include "model/row_slab.h"

namespace longspan {

void Reformer::CheckBatch(const ReformerBatch& batch, Pass pass) const {
  const idx_t n = batch.rows * batch.tokens;
  Check(batch.rows >= 1 && batch.tokens >= 1, ErrorCode::kUsage,
        "batch: {} rows of {} tokens, need at least 1 of 1", batch.rows, batch.tokens);
  CheckPositions(batch);
  if (batch.embeddings.empty()) {
    Check(static_cast<idx_t>(batch.ids.size()) == n, ErrorCode::kUsage,
          "batch: {} ids for {} rows of {} tokens", batch.ids.size(), batch.rows, batch.tokens);
  } else {
    Check(batch.embeddings.extent[0] == n && batch.embeddings.extent[1] == config_.hidden_size,
          ErrorCode::kUsage, "batch: embeddings are {}, need ({}, {})", ShapeText(batch.embeddings),
          n, config_.hidden_size);
  }
  Check(batch.roles.empty() ||
            (batch.roles.extent[0] == batch.rows && batch.roles.extent[1] == batch.tokens),
        ErrorCode::kUsage, "batch: mask is {}, need ({}, {})", ShapeText(batch.roles), batch.rows,
        batch.tokens);
  Check(batch.num_hashes >= 0 && batch.num_hashes <= limits::kHashRounds, ErrorCode::kUsage,
        "batch: {} rounds of hashing, need 1 to {}, or 0 for the config's", batch.num_hashes,
        limits::kHashRounds);
  if (!batch.documents.empty()) {
    Check(batch.roles.empty() && batch.positions.empty(), ErrorCode::kUsage,
          "batch: documents in rows exclude a mask and positions");
    CheckDocuments(batch.documents, batch.rows, batch.tokens);
  }
  if (strict_) CheckOriginalRules(config_, batch, pass == Pass::kTraining);
}

void Reformer::CheckShared(const Context& context, const ReformerBatch& batch) const {
  if (context.row_group() == nullptr) return;
  CheckHeadsForRows(context.row_group(), config_.heads);
  Check(!strict_, ErrorCode::kUsage,
        "row-ranks: a strict Reformer pads texts as the original does, which ranks cannot share");
  Check(batch.positions.empty() && batch.embeddings.empty(), ErrorCode::kUsage,
        "row-ranks: ranks share rows of token ids at positions from 0 on; give no positions and no "
        "embeddings");
}

void Reformer::CheckPositions(const ReformerBatch& batch) const {
  const idx_t longest = config_.longest();
  if (batch.positions.empty()) {
    Check(batch.tokens <= longest, ErrorCode::kUsage,
          "batch: {} tokens, but the model has positions for {}", batch.tokens, longest);
    return;
  }
  Check(static_cast<idx_t>(batch.positions.size()) == batch.rows * batch.tokens, ErrorCode::kUsage,
        "batch: {} positions for {} rows of {} tokens", batch.positions.size(), batch.rows,
        batch.tokens);
  for (const std::int32_t position : batch.positions) {
    Check(position >= 0 && position < longest, ErrorCode::kUsage,
          "batch: position {} is not below the model's {}", position, longest);
  }
}

}  // namespace longspan
