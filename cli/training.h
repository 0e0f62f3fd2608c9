// A training run with its face: progress on stderr, signals that save.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "cli/visual/progress.h"
#include "cli/waiting.h"
#include "longspan/train.h"

namespace longspan::cli {

// One of the library's trainings, but for its hooks.
using TrainRun = std::function<TrainResult(const TrainHooks& hooks)>;

// Shows how far an evaluation is, from its second second on; silent when it is done before.
class EvalProgress {
 public:
  // `counted`: what the context counts, "rows" or "tokens".
  EvalProgress(std::string what, std::string_view counted, ProgressMode mode = ProgressMode::kAuto);
  ~EvalProgress();
  // Shows what this context tells, until Finish.
  void Watch(Context& context);
  void Finish();  // before anything else is printed

 private:
  std::string what_;  // "evaluated"
  std::string counted_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  Progress progress_;
  Waiting waiting_;             // until the first figure
  Context* watched_ = nullptr;  // must outlive this
};

// Trains with a progress line. Returns the result; on a signal the run has been saved and
// result.stopped is set.
// `output`: the run's folder, for what is said at a stop. `counted`: what the events of an
// evaluation count; it must outlive the call.
TrainResult RunWithProgress(ProgressMode mode, const std::string& output, const TrainRun& run,
                            std::string_view counted = "rows");
// The same for a language model.
TrainResult TrainWithProgress(Context& context, const TrainOptions& options, ProgressMode mode);

// 0, or 128 + signal when the run was stopped by one: SIGTERM if another rank got it.
int TrainExitCode(const TrainResult& result);

// "12:41", "1:02:03".
std::string DurationText(double seconds);

}  // namespace longspan::cli
