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

// The value of the metric that decides the run, of an evaluation that found these. kUsage for a
// metric that is not among them.
double ValueOfMetric(const TrainOptions& options, double loss, double bits_per_byte,
                     const std::vector<TrainMetric>& metrics);
// Whether `value` of a metric says nothing of a model whose loss is a number: the AUC of a class
// that no held-out text has. A loss that is none is that of a model gone astray, which is no gain.
bool HasNoValue(double loss, double value);

// kUsage unless the metric is "loss" or one of `names`, which are those that `task` ("classify")
// reports, and the patience has evaluations to count. To be called before anything is read.
void CheckSelection(const TrainOptions& options, std::string_view task,
                    const std::vector<std::string>& names);

}  // namespace longspan
