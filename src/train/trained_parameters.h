// Which parameters of a model a run trains, and at which rate.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longspan/train.h"
#include "model/parameters.h"

namespace longspan {

// Whether `pattern` matches all of `name`; a * stands for any letters, also for none.
bool MatchesPattern(std::string_view pattern, std::string_view name);

// By number of the parameter, whether it stays as it is. kUsage for a pattern that matches no
// parameter, with the names that there are, and if nothing is left to train.
std::vector<bool> FrozenParameters(const TrainedParameters& trained, const ParameterTable& table);

// By number of the parameter, whether it belongs to the head: whatever does not begin with the name
// of the encoder, the first part of the name of the first table of embeddings ("longformer.").
// kUsage if there is none.
std::vector<bool> HeadParameters(const ParameterTable& table);

}  // namespace longspan
