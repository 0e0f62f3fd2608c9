// Names and sentences that may be too long for their place.
#pragma once

#include <string>

#include "longspan/types.h"

namespace longspan::cli {

// The text itself where it takes at most `columns` columns (3 or more), else a beginning of it and
// three full stops.
std::string ClipWithDots(const std::string& text, idx_t columns);

}  // namespace longspan::cli
