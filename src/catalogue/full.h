// What pictures ask of full attention.
#pragma once

#include <vector>

#include "catalogue/pattern.h"

namespace longspan::catalogue {

// As Mechanism::weights, also with shared queries and keys.
std::vector<float> FullWeights(Context& context, const PatternOptions& options);

}  // namespace longspan::catalogue
