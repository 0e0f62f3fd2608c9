// Lengths of texts, summed up for people.
#pragma once

#include <vector>

#include "longspan/data_stats.h"

namespace longspan {

// Mean, extremes, percentiles and bins of these lengths; zeros if there are none.
LengthStats LengthsOf(std::vector<idx_t> lengths);

}  // namespace longspan
