#include "cli/training.h"

#include <fmt/format.h>

#include "cli/signals.h"
#include "cli/train_options.h"

namespace longspan::cli {
namespace {

ProgressLine LineOf(const TrainEvent& event) {
  ProgressLine line;
  line.step = event.step;
  line.steps = event.steps;
  line.loss = event.loss;
  line.bits_per_byte = event.bits_per_byte;
  line.learning_rate = event.learning_rate;
  line.grad_norm = event.gradient_norm;
  line.tokens_per_s = event.tokens_per_s;
  line.rss_bytes = event.rss_bytes;
  line.seconds_left = event.seconds_left;
  return line;
}

void Show(const TrainEvent& event, Progress& progress) {
  switch (event.kind) {
    case TrainEvent::Kind::kStep:
      progress.Update(LineOf(event));
      break;
    case TrainEvent::Kind::kEval:
      progress.Message(fmt::format("step {}: held out {}", event.step,
                                   MeasuresText(event.loss, event.bits_per_byte, event.metrics)));
      break;
    case TrainEvent::Kind::kSave:
    case TrainEvent::Kind::kNote:
      progress.Message(event.text);
      break;
  }
}

}  // namespace

TrainResult RunWithProgress(ProgressMode mode, const TrainRun& run) {
  CatchStopSignals();
  Progress progress(mode);
  TrainHooks hooks;
  hooks.on_event = [&](const TrainEvent& event) { Show(event, progress); };
  hooks.should_stop = [] { return StopSignal() != 0; };
  const TrainResult result = run(hooks);
  progress.Finish();
  return result;
}

TrainResult TrainWithProgress(Context& context, const TrainOptions& options, ProgressMode mode) {
  return RunWithProgress(
      mode, [&](const TrainHooks& hooks) { return TrainLanguageModel(context, options, hooks); });
}

int TrainExitCode(const TrainResult& result) { return result.stopped ? 128 + StopSignal() : 0; }

std::string DurationText(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace longspan::cli
