// The input of a Reformer: rows of tokens, any T, and what only a Reformer can be given.
#pragma once

#include <cstdint>
#include <span>

#include "model/batch.h"

namespace longspan {

// A Reformer has no global tokens and no token types; it ignores both. Documents exclude roles and
// positions. Hidden tokens keep their places and positions, as in the original (model/text_model.h
// runs rows without their padding).
struct ReformerBatch : BatchView {
  // The position of each token, (B, T). Empty: 0, 1, 2, ... in every row.
  std::span<const std::int32_t> positions = {};
  // (B*T, C), instead of rows of the word table. ids may then be empty. They get no gradient.
  View<const float, 2> embeddings = {};
  // Rounds of the LSH layers, in this call; 0: the config's.
  idx_t num_hashes = 0;
};

}  // namespace longspan
