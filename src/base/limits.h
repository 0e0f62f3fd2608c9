// What files and options may ask for at most. Whatever asks for more is refused, with both numbers,
// before memory or time is spent on it. docs/limits.md is the same list for users.
#pragma once

#include <cstddef>
#include <cstdint>

#include "longspan/types.h"

namespace longspan::limits {

// ---- texts and tables (src/data) ----------------------------------------------------------------

// ---- weights and archives (src/io) --------------------------------------------------------------

// ---- tokenizers (src/text) ----------------------------------------------------------------------

// ---- configs and models (src/model) -------------------------------------------------------------

}  // namespace longspan::limits
