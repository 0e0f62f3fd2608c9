// How rows of each class count in the loss of a classifier's training.
#pragma once

#include <vector>

#include "train/classify_task.h"

namespace longspan {

// kUsage unless weights and smoothing are in range and, where there are any, the problem is one
// class of several (or not known yet).
void CheckClassLoss(const ClassifyOptions& task, ProblemType problem);

// A weight for each of the target's labels; empty: none is wanted. kUsage for a name that is no
// label.
std::vector<float> ResolveClassWeights(const ClassWeights& weights, const ClassifyTarget& target,
                                       const ClassifyRows& train);

}  // namespace longspan
