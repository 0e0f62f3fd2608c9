// The input of a Reformer: B rows of T tokens each, any T.
#pragma once

#include <cstdint>
#include <span>

#include "longspan/attention.h"

namespace longspan {

struct TokenBatch {
  idx_t rows = 0, tokens = 0;             // B, T
  std::span<const std::int32_t> ids;      // (B, T)
  std::span<const std::int32_t> targets;  // language models, (B, T): what position t predicts, or
                                          // kIgnoreLabel
  // (B, T). Empty: no token is hidden. Tokens before, after and in a text may be hidden. They keep
  // their places and positions, as in the original (text_model.h runs rows without padding).
  KeyMask mask = {};

  // Targets of the other heads. Sequence classes: (B), or kIgnoreLabel; regression, sets of labels:
  // (B, labels).
  std::span<const std::int32_t> labels = {};
  std::span<const float> values = {};
  // Question answering: (B). A place after the text is ignored.
  std::span<const std::int32_t> starts = {}, ends = {};

  // The position of each token, (B, T). Empty: 0, 1, 2, ... in every row.
  std::span<const std::int32_t> positions = {};
  // (B*T, C), instead of rows of the word table. ids may then be empty. They get no gradient.
  View<const float, 2> embeddings = {};
  // Rounds of the LSH layers, in this call; 0: the config's.
  idx_t num_hashes = 0;
  // Lengths of the documents that stand side by side, over all rows in order. None crosses a row's
  // end. Each is computed as a row of its own: positions from 0, its own chunks and buckets, and no
  // token sees another document. Empty: a row is one document. Not together with a mask or
  // positions.
  std::span<const idx_t> documents = {};
};

}  // namespace longspan
