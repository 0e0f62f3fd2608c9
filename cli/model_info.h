// What `longspan info` prints of a path.
#pragma once

#include <string>

#include "longspan/folders.h"

namespace longspan::cli {

// Lines for people: of a model its facts, labels, parameters, tensors, oddities and the command to
// ask it; of anything else what it is and what to do.
std::string InfoText(const FolderInfo& info);

}  // namespace longspan::cli
