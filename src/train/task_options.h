// Options that every training has, and not every training uses.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "longspan/train.h"

namespace longspan {

// kUsage for an option that a training of this task ("classify") would pass over in silence, for a
// metric that is none of `metrics` (train/selection.h), and for a patience that cannot end. Every
// entry point calls it before anything is read.
void CheckTaskOptions(const TrainOptions& options, std::string_view task,
                      const std::vector<std::string>& metrics);

}  // namespace longspan
