// What a Reformer works on: B rows of T tokens each, any T.
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
  // (B, T), empty: every token is real. Hidden tokens anywhere: before a text, behind it, in it.
  // They keep their places and positions, as in the original (model/padding.h has rows without).
  KeyMask mask = {};

  // Targets of the other heads. Sequence classes: (B), or kIgnoreLabel; regression, sets of labels:
  // (B, labels).
  std::span<const std::int32_t> labels = {};
  std::span<const float> values = {};
  // Question answering: (B); a place behind the text is ignored.
  std::span<const std::int32_t> starts = {}, ends = {};

  // Where each token stands, (B, T); empty: 0, 1, 2, ... in every row.
  std::span<const std::int32_t> positions = {};
  // (B*T, C) instead of the word table's rows; then ids may be empty. Nothing flows back to them.
  View<const float, 2> embeddings = {};
  // Rounds of the LSH layers, in this call; 0: the config's.
  idx_t num_hashes = 0;
  // Lengths of documents that lie side by side, over all rows in order, none across two rows. Each
  // is what it would be as a row of its own: positions from 0, chunks and buckets of its own,
  // nobody sees another's tokens. Empty: a row is one document. Not together with a mask or
  // positions.
  std::span<const idx_t> documents = {};
};

}  // namespace longspan
