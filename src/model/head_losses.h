// Losses over a few logits, in double: what stands behind the small heads. Gradients are written,
// not added, as scale times the derivative of the sum.
#pragma once

#include <cstdint>
#include <span>

#include "longspan/tensor.h"

namespace longspan {

// The logits of one decision: `count` floats, `stride` apart.
struct LogitRow {
  const float* data;
  idx_t count, stride;
  float operator[](idx_t i) const { return data[i * stride]; }
};

// logsumexp(logits) - logits[label]. dlogits lies as the logits do, or is null.
double SoftmaxLoss(const LogitRow& logits, idx_t label, float scale, float* dlogits);
// The first of the largest.
idx_t LargestLogit(const LogitRow& logits);

// Sum of (logit - value)^2 over all elements.
double SquaredLoss(std::span<const float> logits, std::span<const float> values, float scale,
                   float* dlogits);
// Sum of -value log s(logit) - (1 - value) log(1 - s(logit)), s the logistic function.
double BinaryLoss(std::span<const float> logits, std::span<const float> values, float scale,
                  float* dlogits);

}  // namespace longspan
