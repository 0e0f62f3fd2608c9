// What pictures ask of window attention.
#pragma once

#include <cstdint>
#include <vector>

#include "catalogue/pattern.h"

namespace longspan::catalogue {

// Both kinds of rows, those of local and those of global tokens; hidden tokens' rows are 0.
std::vector<float> WindowWeights(Context& context, const PatternOptions& options);

}  // namespace longspan::catalogue
