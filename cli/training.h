// A training run with its face: progress on stderr, signals that save.
#pragma once

#include <functional>
#include <string>

#include "cli/visual/progress.h"
#include "longspan/train.h"

namespace longspan::cli {

// One of the library's trainings, but for its hooks.
using TrainRun = std::function<TrainResult(const TrainHooks& hooks)>;

// Trains with a progress line. Returns the result; on a signal the run has been saved and
// result.stopped is set.
TrainResult RunWithProgress(ProgressMode mode, const TrainRun& run);
// The same for a language model.
TrainResult TrainWithProgress(Context& context, const TrainOptions& options, ProgressMode mode);

// 0, or 128 + signal when the run was stopped by one.
int TrainExitCode(const TrainResult& result);

// "12:41", "1:02:03".
std::string DurationText(double seconds);

}  // namespace longspan::cli
