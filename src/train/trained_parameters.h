// Which parameters of a model a run trains, and at which rate.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/train.h"
#include "model/parameters.h"
#include "train/train_task.h"

namespace longspan {

// Whether `pattern` matches all of `name`; a * stands for any letters, also for none.
bool MatchesPattern(std::string_view pattern, std::string_view name);

// By number of the parameter, whether it stays as it is. kUsage for a pattern that matches no
// parameter, with the names that there are, and if nothing is left to train.
std::vector<bool> FrozenParameters(const TrainedParameters& trained, const ParameterTable& table);

// Says in the task's table which parameters it trains: those that these options and the task itself
// (TrainTask::Trains) leave. The same errors.
void FreezeParameters(const TrainedParameters& trained, TrainTask& task);

// The same by name for a model that is planned and not there yet, in which a pattern may match
// nothing.
std::function<bool(std::string_view name)> FrozenBy(const TrainedParameters& trained);

// By number of the parameter, whether it belongs to the head: whatever does not begin with the name
// of the encoder, the first part of the name of the first table of embeddings ("longformer.").
// kUsage if there is none.
std::vector<bool> HeadParameters(const ParameterTable& table);

}  // namespace longspan
