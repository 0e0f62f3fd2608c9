// Which of a run's evaluations is the best one.
#pragma once

#include <string_view>
#include <vector>

#include "longspan/train.h"

namespace longspan {

// Whether greater values of a metric of this name are better: of all but losses and errors.
bool GreaterIsBetter(std::string_view metric);
// Whether `value` of a metric is better than `other`. A value that is not finite is not.
bool IsBetter(std::string_view metric, double value, double other);

// kUsage unless the metric is "loss" or one of `names`, which are those that `task` ("classify")
// reports, and the patience has evaluations to count. To be called before anything is read.
void CheckSelection(const TrainOptions& options, std::string_view task,
                    const std::vector<std::string>& names);

}  // namespace longspan
