// The learning rate of each update, and what else an update depends on.
#pragma once

#include <functional>
#include <vector>

#include "longspan/train.h"
#include "model/parameters.h"
#include "ops/optimizer.h"

namespace longspan {

// Update `step` counts from 1. A linear warm-up reaches the full rate at step `warmup`. After it
// the rates are those of the schedules of `transformers`, update by update: constant; or falling
// linearly or by half a cosine from the full rate at step `warmup` + 1 to final_rate of it, which
// would be that of the step after the last; or falling as 1 / sqrt((step - 1 - warmup + t) / t)
// without an end, where t = warmup, or 10,000 without a warm-up.
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
