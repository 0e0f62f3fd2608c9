// How rows or words of each class count in the loss of a training.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "longspan/train.h"

namespace longspan {

// kUsage unless weights and smoothing are in range and, where there are any, the problem is one
// class of several (or not known yet).
void CheckClassLoss(const ClassifyOptions& task, ProblemType problem);

// A weight for each label; empty: none is wanted. `counts`: of each label, how many rows or words
// of the training have it. kUsage for a name that is no label.
std::vector<float> ResolveClassWeights(const ClassWeights& weights,
                                       const std::vector<std::string>& labels,
                                       std::span<const idx_t> counts);
// How many of these have each of `labels` labels; negative ones have none.
std::vector<idx_t> CountsOf(std::span<const std::int32_t> classes, std::size_t labels);

}  // namespace longspan
