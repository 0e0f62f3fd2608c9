// The learning rate of each update.
#pragma once

#include "longspan/train.h"

namespace longspan {

// Update `step` counts from 1. A linear warm-up reaches the full rate at step `warmup`. Then the
// rate is constant, or falls linearly or by half a cosine to final_rate of it at the last step, or
// falls as sqrt(warmup / step) without an end: with t = warmup, or 10,000 without a warm-up, as
// 1 / sqrt((step - warmup + t) / t).
double LearningRate(const TrainOptions& options, idx_t step);
// The same for parameters whose largest rate is `full`.
double LearningRate(const TrainOptions& options, idx_t step, double full);

// A negative warm-up becomes 6 % of the updates.
void ResolveWarmup(TrainOptions* options);

}  // namespace longspan
