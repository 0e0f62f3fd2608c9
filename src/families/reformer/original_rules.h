// The rules of `transformers` for the lengths of a Reformer's texts, and its padding. Without them
// any length runs as it is. Reformer::SetStrict applies them.
#pragma once

#include <cstdint>
#include <vector>

#include "families/reformer/reformer_batch.h"
#include "families/reformer/reformer_config.h"
#include "longspan/tensor.h"

namespace longspan {

// The tokens that a text of `tokens` has when the original evaluates it: whole chunks of every kind
// of layer, unless it fits the smallest chunk.
idx_t PaddedTokens(const ReformerConfig& config, idx_t tokens);

// Throws kUsage where the original refuses a batch, in training or in evaluation: lengths that are
// no whole chunks, that the axial tables do not equal, that no position is left for, that the two
// chunk_size fields do not divide; positions that its padding cannot go on with; other rounds than
// the config's on the way back.
void CheckOriginalRules(const ReformerConfig& config, const ReformerBatch& batch, bool training);

// A batch for evaluation whose rows are lengthened by hidden tokens. It has no targets.
class PaddedBatch {
 public:
  // `pad` is the token that lengthens, `pad_row` (C) its embedding, for batches that come as
  // embeddings.
  PaddedBatch(const ReformerBatch& batch, idx_t padded, std::int32_t pad,
              const View<const float, 1>& pad_row);
  const ReformerBatch& batch() const { return batch_; }

 private:
  std::vector<std::int32_t> ids_;
  std::vector<std::uint8_t> mask_;
  Tensor embeddings_;
  ReformerBatch batch_;
};

// The first tokens of each row of x (B * padded, W): as many as cut (B*T, W) has.
void CutRows(const View<const float, 2>& x, idx_t rows, const View<float, 2>& cut);

}  // namespace longspan
