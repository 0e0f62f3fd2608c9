// What pictures ask of LSH attention.
#pragma once

#include <cstdint>
#include <vector>

#include "catalogue/pattern.h"

namespace longspan::catalogue {

LshPattern LshWeights(Context& context, const PatternOptions& options);

}  // namespace longspan::catalogue
