// The learning rate of each update, and what else an update depends on.
#pragma once

#include <functional>
#include <vector>

#include "longspan/train.h"
#include "model/parameters.h"
#include "ops/optimizer.h"

namespace longspan {

// Update `step` counts from 1. A linear warm-up reaches the full rate at step `warmup`. Then the
// rate is constant, or falls linearly or by half a cosine to final_rate of it at the last step, or
// falls as sqrt(warmup / step) without an end: with t = warmup, or 10,000 without a warm-up, as
// 1 / sqrt((step - warmup + t) / t).
double LearningRate(const TrainOptions& options, idx_t step);
// The same for parameters whose largest rate is `full`.
double LearningRate(const TrainOptions& options, idx_t step, double full);

// The steps of a table's parameters, by number, in update `step` whose gradient has this norm:
// clipped, with the learning rate of `head` where it says so (empty: nowhere), and weight decay of
// matrices alone. It refers to its arguments.
std::function<OptimizerStep(std::size_t)> StepsOf(const TrainOptions& options,
                                                  const std::vector<bool>& head,
                                                  const ParameterTable& table, idx_t step,
                                                  double norm);

// A negative warm-up becomes 6 % of the updates.
void ResolveWarmup(TrainOptions* options);

}  // namespace longspan
