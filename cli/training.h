// A training run with its face: progress on stderr, signals that save.
#pragma once

#include <string>

#include "cli/visual/progress.h"
#include "longspan/train.h"

namespace longspan::cli {

// Trains with a progress line. Returns the result; on a signal the run has been saved and
// result.stopped is set.
TrainResult TrainWithProgress(Context& context, const TrainOptions& options, ProgressMode mode);

// 0, or 128 + signal when the run was stopped by one.
int TrainExitCode(const TrainResult& result);

// "12:41", "1:02:03".
std::string DurationText(double seconds);

}  // namespace longspan::cli
