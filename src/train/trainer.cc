#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "base/errors.h"
#include "base/rng.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/escape.h"
#include "io/paths.h"
#include "model/weight_files.h"
#include "ops/adamw/adamw.h"
#include "probe/peaks.h"
#include "train/metrics_log.h"
#include "train/run_state.h"
#include "train/schedule.h"

namespace longspan {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// A new run wants an empty output directory; a resumed one may find its earlier part there.
void PrepareOutput(const TrainOptions& o, const TrainTask& task) {
  namespace fs = std::filesystem;
  if (o.resume) return;
  // What a run writes, and may therefore clear.
  const std::vector<fs::path> beside = task.FilesBeside();
  const auto copied = [&](const std::string& name) {
    return std::any_of(beside.begin(), beside.end(),
                       [&](const fs::path& file) { return file.filename() == name; });
  };
  const auto ours = [&](const std::string& name) {
    return name.rfind("checkpoint-", 0) == 0 || name == "metrics.jsonl" || name == "best.json" ||
           name == "config.json" || name == "generation_config.json" ||
           name == "model.safetensors" || io::Exists(o.model / name) || copied(name);
  };
  // Locks and what crashed writers left: nobody's results.
  const auto hidden = [](const std::string& name) { return name.starts_with('.'); };
  const std::vector<std::string> there = io::ListFolder(o.output);
  for (const std::string& name : there) {
    if (hidden(name)) continue;
    Check(o.overwrite, ErrorCode::kUsage,
          "{}: not empty (it has {}); --resume goes on with the run in it, --overwrite clears it",
          io::Escape(o.output.string()), io::Escape(name));
    Check(ours(name), ErrorCode::kUsage,
          "{}: has {}, which no training wrote; --overwrite clears training output only",
          io::Escape(o.output.string()), io::Escape(name));
  }
  if (!o.overwrite) return;
  Check(fs::absolute(o.model).lexically_normal() != fs::absolute(o.output).lexically_normal(),
        ErrorCode::kUsage, "{}: is the model to start from and cannot be overwritten",
        io::Escape(o.output.string()));
  for (const std::string& name : there) {
    if (!hidden(name)) io::RemoveAll(o.output / name);
  }
}

class Trainer {
 public:
  Trainer(Context& context, const TrainOptions& options, TrainTask& task, const TrainHooks& hooks)
      : context_(context),
        options_(options),
        task_(task),
        hooks_(hooks),
        fingerprint_(task.DataFingerprint()),
        state_(Begin()),
        metrics_(options.output, options.resume ? state_.step : 0) {
    task_.parameters().AllocateGradients();
  }

  TrainResult Run() {
    TrainResult result;
    const idx_t first = state_.step;
    while (state_.step < options_.steps && !result.stopped) {
      const TrainEvent event = Step(first);
      Emit(event);
      if (event.step % options_.log_every == 0 || event.step == options_.steps) {
        metrics_.Write(event);
      }
      if (Due(options_.eval_every)) Evaluate();
      result.stopped = hooks_.should_stop && hooks_.should_stop();
      if (result.stopped || Due(options_.save_every)) Save();
    }
    if (!result.stopped) Finish();
    result.step = state_.step;
    result.eval_loss = state_.evaluated_loss;
    result.eval_bits_per_byte =
        state_.evaluated_bits_per_byte.value_or(task_.BitsPerByte(state_.evaluated_loss));
    result.metrics = state_.evaluated_metrics;
    result.seconds = Since(start_);
    return result;
  }

 private:
  RunState Begin() {
    std::vector<std::string> notes;
    std::optional<RunState> state;
    if (options_.resume) state = ResumeRun(task_, options_, fingerprint_, &notes);
    const bool resumed = state.has_value();
    if (!resumed) state = StartRun(task_, options_, &notes);
    for (const std::string& note : notes) Note(note);
    if (resumed) {
      saved_step_ = state->step;
      Note(fmt::format("resumed at step {}", state->step));
    }
    return std::move(*state);
  }

  bool Due(idx_t every) const { return every > 0 && state_.step % every == 0; }

  void Emit(const TrainEvent& event) const {
    if (hooks_.on_event) hooks_.on_event(event);
  }
  void Note(const std::string& text) const {
    TrainEvent event;
    event.kind = TrainEvent::Kind::kNote;
    event.text = text;
    Emit(event);
  }

  // One update. Each micro-batch adds its share of the gradient of the mean over all of them.
  TrainEvent Step(idx_t first) {
    const auto begin = Clock::now();
    const idx_t step = state_.step + 1;
    const StepSize size = task_.Draw(step);
    const auto dropout_key =
        DeriveKey(KeyOf(options_.seed, RunKey::kDropout), static_cast<std::uint64_t>(step));
    TaskLoss total{0.0, 0};
    for (idx_t micro = 0; micro < options_.accumulate; ++micro) {
      const StepDropout dropout{true, DeriveKey(dropout_key, static_cast<std::uint64_t>(micro))};
      const TaskLoss part =
          task_.Accumulate(context_, micro, 1.0f / static_cast<float>(size.counted), dropout);
      total.sum += part.sum;
      total.correct = part.correct < 0 ? -1 : total.correct + part.correct;
    }
    TrainEvent event;
    event.loss = total.sum / static_cast<double>(size.counted);
    event.gradient_norm = Update(step, event.loss);
    state_.step = step;
    state_.tokens += size.tokens;
    if (total.correct >= 0) {
      event.metrics.push_back(
          {"accuracy", static_cast<double>(total.correct) / static_cast<double>(size.counted)});
    }
    event.step = step;
    event.steps = options_.steps;
    event.bits_per_byte = task_.BitsPerByte(event.loss);
    event.learning_rate = LearningRate(options_, step);
    event.tokens = state_.tokens;
    event.tokens_per_s = static_cast<double>(size.tokens) / Since(begin);
    event.seconds = Since(start_);
    event.seconds_left = event.seconds / static_cast<double>(step - first) *
                         static_cast<double>(options_.steps - step);
    event.rss_bytes = PeakRssBytes();
    return event;
  }

  // Clips, applies AdamW, leaves the gradients zero. Returns the norm before clipping.
  double Update(idx_t step, double loss) {
    ParameterTable& table = task_.parameters();
    const double norm = std::sqrt(SquaredNorm(context_, table.gradients()));
    Check(std::isfinite(loss) && std::isfinite(norm), ErrorCode::kNumeric,
          "step {}: loss {} and gradient norm {} are not both finite; lower --learning-rate, the "
          "last checkpoint is whole",
          step, loss, norm);
    AdamWSpec spec;
    spec.learning_rate = static_cast<float>(LearningRate(options_, step));
    spec.beta1 = static_cast<float>(options_.beta1);
    spec.beta2 = static_cast<float>(options_.beta2);
    spec.eps = static_cast<float>(options_.adam_eps);
    spec.step = step;
    if (options_.clip > 0.0 && norm > options_.clip) {
      spec.gradient_scale = static_cast<float>(options_.clip / norm);
    }
    for (const ParameterInfo& info : table.list()) {
      spec.weight_decay =
          info.kind == ParameterKind::kMatrix ? static_cast<float>(options_.weight_decay) : 0.0f;
      const auto part = [&](View<float, 1> flat) {
        return View<float, 1>(flat.data + info.offset, {info.size});
      };
      AdamWStep(context_, spec, part(table.values()), part(table.gradients()),
                part(state_.first_moment.view<1>()), part(state_.second_moment.view<1>()));
    }
    return norm;
  }

  void Evaluate() {
    TaskEvaluation eval = task_.Evaluate(context_);
    state_.evaluated_step = state_.step;
    state_.evaluated_loss = eval.loss;
    if (!state_.best_step || eval.loss < state_.best_loss) {
      state_.best_step = state_.step;
      state_.best_loss = eval.loss;
    }
    TrainEvent event;
    event.kind = TrainEvent::Kind::kEval;
    event.step = state_.step;
    event.steps = options_.steps;
    event.loss = eval.loss;
    event.bits_per_byte = eval.bits_per_byte.value_or(task_.BitsPerByte(eval.loss));
    state_.evaluated_bits_per_byte = eval.bits_per_byte;
    event.metrics = eval.metrics;
    event.tokens = state_.tokens;
    event.seconds = Since(start_);
    event.rss_bytes = PeakRssBytes();
    state_.evaluated_metrics = std::move(eval.metrics);
    metrics_.Write(event);
    Emit(event);
  }

  void Save() {
    metrics_.Sync();
    SaveRun(state_, task_, options_, fingerprint_);
    saved_step_ = state_.step;
    TrainEvent event;
    event.kind = TrainEvent::Kind::kSave;
    event.step = state_.step;
    event.text = fmt::format("saved checkpoint-{}", state_.step);
    Emit(event);
  }

  // The last update is evaluated and saved whatever the rhythm, and the model lies in the output.
  void Finish() {
    if (state_.evaluated_step != state_.step) {
      Evaluate();
      saved_step_ = -1;  // what was saved does not know of it
    }
    if (saved_step_ != state_.step) Save();
    task_.Save(options_.output);
  }

  Context& context_;
  const TrainOptions& options_;
  TrainTask& task_;
  const TrainHooks& hooks_;
  const Clock::time_point start_ = Clock::now();
  std::string fingerprint_;
  idx_t saved_step_ = -1;  // of the newest checkpoint; Begin sets it
  RunState state_;
  MetricsLog metrics_;
};

}  // namespace

std::uint64_t KeyOf(std::uint64_t seed, RunKey purpose) {
  return DeriveKey(seed, static_cast<std::uint64_t>(purpose));
}

std::vector<io::TensorEntry> TrainTask::Weights() { return WeightEntries(parameters()); }

double TrainTask::BitsPerByte(double) const { return std::numeric_limits<double>::quiet_NaN(); }

void CheckTrainOptions(const TrainOptions& o) {
  const auto in_range = [](const char* name, double value, double low, double high) {
    Check(value >= low && value <= high, ErrorCode::kUsage, "{}: {} is not from {} to {}", name,
          value, low, high);
  };
  constexpr double kMost = 1e12;
  in_range("steps", static_cast<double>(o.steps), 1, kMost);
  in_range("batch", static_cast<double>(o.batch), 1, 1 << 20);
  in_range("accumulate", static_cast<double>(o.accumulate), 1, 1 << 20);
  in_range("learning-rate", o.learning_rate, 0, 100);
  in_range("final-rate", o.final_rate, 0, 1);
  in_range("warmup", static_cast<double>(o.warmup), -1, kMost);
  in_range("beta1", o.beta1, 0, 0.999999);
  in_range("beta2", o.beta2, 0, 0.999999999);
  in_range("adam-eps", o.adam_eps, 1e-30, 1);
  in_range("weight-decay", o.weight_decay, 0, 100);
  in_range("clip", o.clip, 0, 1e9);
  in_range("held-out", o.held_out, 0, 0.99);
  in_range("log-every", static_cast<double>(o.log_every), 1, kMost);
  in_range("eval-every", static_cast<double>(o.eval_every), 0, kMost);
  in_range("save-every", static_cast<double>(o.save_every), 0, kMost);
  in_range("keep", static_cast<double>(o.keep), 2, 1e6);
  if (o.dropout) in_range("dropout", *o.dropout, 0, 0.99);
  Check(!(o.resume && o.overwrite), ErrorCode::kUsage,
        "resume and overwrite exclude each other: go on with the run, or clear it");
}

TrainResult RunTraining(Context& context, const TrainOptions& options, TrainTask& task,
                        const TrainHooks& hooks) {
  CheckTrainOptions(options);
  io::EnsureWritableDirectory(options.output);
  const io::DirectoryLock lock(options.output);
  PrepareOutput(options, task);
  io::RecoverRunDirectory(options.output);
  return Trainer(context, options, task, hooks).Run();
}

}  // namespace longspan
