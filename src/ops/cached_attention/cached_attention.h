// One query over keys and values that are kept from before, wherever each of them lies: what a new
// token costs in generation. Which keys those are is the caller's list.
#pragma once

#include <cstddef>

#include "longspan/types.h"

namespace longspan {

// One head of one new token. A cell is what a token is to later ones: its key (D), then its value
// (D). A cell that is listed twice counts twice.
struct CachedQuery {
  const float* query = nullptr;         // (D)
  const float* const* cells = nullptr;  // (count), count >= 1
  idx_t count = 0;
  idx_t size = 0;               // D
  float scale = 1.0f;           // of the scores
  const float* self = nullptr;  // the score of this cell becomes kSelfScore; null: of none
  float* weights = nullptr;     // scratch: CachedWeights(count) floats
  float* out = nullptr;         // (D)
};

// Floats of scratch for a list of that many cells.
idx_t CachedWeights(idx_t count);

// out = softmax(scale query . key over the listed cells) value. On the calling thread, allocates
// nothing; sums run in the list's order. Cost 4 D flop and one read of 2 D floats a cell.
void AttendCached(const CachedQuery& q);

// key (D) = x / sqrt(mean(x^2) + 1e-6) / sqrt(D): the key of a token whose query is x, as LSH
// layers have it. key may be x itself.
void SharedKey(const float* x, idx_t size, float* key);

}  // namespace longspan
