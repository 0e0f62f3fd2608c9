#include "cli/training.h"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <utility>

#include "cli/ranks.h"
#include "cli/signals.h"
#include "cli/train_options.h"
#include "longspan/counted.h"
#include "longspan/files.h"

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
  line.ranks = event.ranks;
  line.waiting_share = event.waiting_share;
  line.seconds_left = event.seconds_left;
  return line;
}

// How far a run is, for the thread that says what a stop does.
class Standing {
 public:
  explicit Standing(std::string output) : output_(std::move(output)) {}

  void Take(const TrainEvent& event) {
    using Kind = TrainEvent::Kind;
    if (event.kind == Kind::kStart || event.kind == Kind::kStep || event.kind == Kind::kSave) {
      step_ = event.step;
    }
    if (event.kind == Kind::kStart || event.kind == Kind::kSave) saved_ = event.step;
    evaluating_ = event.kind == Kind::kEvaluating;
  }

  // The words outlive the run: a signal may come while the program ends.
  static StopWords Words(std::shared_ptr<const Standing> run) {
    StopWords words;
    words.told = [run](const char* signal) -> std::string {
      if (!Speaks() || PeerFailed()) return {};
      return fmt::format(
          "{}: stops {} and saves; the last checkpoint is {}/checkpoint-{}; a second signal leaves "
          "at once and gives up {}",
          signal, run->evaluating_ ? "this evaluation" : "after this update", run->output_,
          run->saved_.load(), run->Since());
    };
    words.lost = [run](const char* signal) -> std::string {
      if (!Speaks()) return {};
      return fmt::format("{}: left at once, {} given up; --resume goes on from {}/checkpoint-{}",
                         signal, run->Since(), run->output_, run->saved_.load());
    };
    return words;
  }

 private:
  // Updates that a checkpoint does not have: the one that is being computed is one of them.
  std::string Since() const {
    const idx_t saved = saved_, lost = step_ - saved;
    if (lost == 0) return "the update that is being computed";
    return fmt::format("{} and the one that is being computed", Counted(lost, "update"));
  }

  std::string output_;
  std::atomic<idx_t> step_ = 0, saved_ = 0;
  std::atomic<bool> evaluating_ = false;
};

// `steps`: the line of the update before, which a bar shows while the next one is computed.
void Show(const TrainEvent& event, std::string_view counted, ProgressLine& steps,
          Progress& progress) {
  const auto go_on = [&] {
    const bool more = steps.step < steps.steps;
    if (more && progress.mode() == ProgressMode::kBar) progress.Update(steps);
  };
  switch (event.kind) {
    case TrainEvent::Kind::kStart:
      steps.step = event.step;
      steps.steps = event.steps;
      go_on();
      break;
    case TrainEvent::Kind::kStep:
      steps = LineOf(event);
      progress.Update(steps);
      break;
    case TrainEvent::Kind::kEvaluating: {
      ProgressLine line;
      line.unit = "held out";
      line.of = counted;
      line.passing = true;
      line.step = event.step;
      line.steps = event.steps;
      progress.Update(line);
      break;
    }
    case TrainEvent::Kind::kEval:
      progress.Message(fmt::format("step {}: held out {}", event.step,
                                   MeasuresText(event.loss, event.bits_per_byte, event.metrics)));
      go_on();
      break;
    case TrainEvent::Kind::kSave:
      progress.Message(event.text);
      break;
    case TrainEvent::Kind::kNote:
      progress.Message(event.text, LineKind::kNote);
      break;
  }
}

}  // namespace

EvalProgress::EvalProgress(std::string what, std::string_view counted, ProgressMode mode)
    : what_(std::move(what)),
      counted_(counted),
      progress_(mode),
      waiting_("reading model and texts", progress_.mode() != ProgressMode::kBar) {}

EvalProgress::~EvalProgress() {
  if (watched_ != nullptr) watched_->OnProgress({});
}

void EvalProgress::Finish() {
  waiting_.End();
  progress_.Finish();
}

void EvalProgress::Watch(Context& context) {
  watched_ = &context;
  context.OnProgress([this](idx_t done, idx_t all) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
    constexpr double kPatience_s = 1.0;
    if (seconds.count() < kPatience_s) return;
    waiting_.End();
    ProgressLine line;
    line.unit = what_;
    line.of = counted_;
    line.step = done;
    line.steps = all;
    line.seconds_left =
        done == 0 ? -1.0
                  : seconds.count() * static_cast<double>(all - done) / static_cast<double>(done);
    progress_.Update(line);
  });
}

TrainResult RunWithProgress(ProgressMode mode, const std::string& output, const TrainRun& run,
                            std::string_view counted) {
  ExpectSaves();
  const auto standing = std::make_shared<Standing>(io::Escape(output));
  Progress progress(mode);
  Waiting waiting("reading model and texts", progress.mode() != ProgressMode::kBar || !Speaks());
  TrainHooks hooks;
  ProgressLine steps;
  hooks.on_event = [&](const TrainEvent& event) {
    waiting.End();
    standing->Take(event);
    // Before that a stop ends the reading of texts and models at once: there is nothing to save.
    if (event.kind == TrainEvent::Kind::kStart) {
      CatchStopSignals(Standing::Words(standing));
    }
    if (Speaks()) Show(event, counted, steps, progress);
  };
  hooks.should_stop = [] { return StopSignal() != 0; };
  hooks.should_save = TakeSaveWish;
  const TrainResult result = run(hooks);
  progress.Finish();
  return result;
}

TrainResult TrainWithProgress(Context& context, const TrainOptions& options, ProgressMode mode) {
  const TrainRun run = [&](const TrainHooks& hooks) {
    return TrainLanguageModel(context, options, hooks);
  };
  return RunWithProgress(mode, options.output.string(), run, "tokens");
}

int TrainExitCode(const TrainResult& result) {
  if (!result.stopped) return 0;
  return 128 + (StopSignal() == 0 ? SIGTERM : StopSignal());
}

std::string DurationText(double seconds) {
  const auto s = static_cast<long>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace longspan::cli
