#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "base/error_code.h"
#include "base/errors.h"
#include "base/rng.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "longspan/files.h"
#include "longspan/machine.h"
#include "model/weight_files.h"
#include "probe/clock.h"
#include "train/gradient_sum.h"
#include "train/metrics_log.h"
#include "train/run_output.h"
#include "train/run_ranks.h"
#include "train/run_state.h"
#include "train/schedule.h"
#include "train/selection.h"
#include "train/shared_update.h"
#include "train/stopwatch.h"
#include "train/weight_exchange.h"

namespace longspan {
namespace {

double Since(double start) { return probe::Seconds() - start; }

class Trainer {
 public:
  Trainer(Context& context, const TrainOptions& options, TrainTask& task, const TrainHooks& hooks)
      : context_(context),
        options_(options),
        task_(task),
        hooks_(hooks),
        ranks_(context),
        fingerprint_(task.DataFingerprint()),
        state_(Begin()),
        shares_(state_.optimizer.shares()),
        sum_(ranks_.world(), options.accumulate, task.parameters(), shares_, ranks_.row_ranks()),
        weights_(ranks_.world(), shares_),
        exchanged_(ranks_.world()) {
    if (!ranks_.first()) return;
    KeptLines kept{Resumes(options) ? state_.step : 0, EvaluatedStep(state_)};
    kept.sums_open = state_.unlogged.updates > 0 && state_.skipped_in_a_row == 0;
    metrics_.emplace(options.output, kept, options.checkpoints.tensorboard);
  }

  TrainResult Run() {
    TellStart();
    const idx_t first = state_.step;
    // A stop may have ended the evaluation of the very update that is resumed.
    const bool owed = first > 0 && first < options_.steps && Due(options_.checkpoints.eval_every) &&
                      EvaluatedStep(state_) != first;
    bool stopped = owed && !Evaluate();
    if (!stopped && best_is_owed_) Save(Failure::kMayBeSurvived);
    while (!IsOver() && !stopped) {
      TellStep(Step(first));
      if (state_.step == options_.steps) break;
      const bool evaluated = !Due(options_.checkpoints.eval_every) || Evaluate();
      stopped = !evaluated || Asked(hooks_.should_stop);
      if (stopped) {
        Save(Failure::kEndsRun);
      } else if (best_is_owed_ || Due(options_.checkpoints.save_every) ||
                 Asked(hooks_.should_save) || FirstSaveIsDue()) {
        Save(Failure::kMayBeSurvived);
      }
    }
    LogMeans();
    if (!stopped) stopped = !Finish();
    return Result(stopped);
  }

 private:
  TrainResult Result(bool stopped) const {
    TrainResult result;
    result.stopped = stopped;
    result.step = state_.step;
    result.skipped = state_.skipped;
    const bool before_last = !stopped && state_.step < options_.steps;
    result.ended_early = before_last && EndsEarly();
    result.out_of_time = before_last && !result.ended_early;
    const Evaluated kept = holds_best_ ? *state_.best : state_.evaluated.value_or(Evaluated());
    result.model_step = holds_best_ ? kept.step : state_.step;
    result.eval_loss = kept.loss;
    result.eval_bits_per_byte = BitsOf(kept);
    result.metrics = kept.metrics;
    const HeldOutTexts texts = task_.held_out_texts();
    result.held_out_texts = texts.count;
    result.share_of_texts = texts.share;
    result.resumed = resumed_;
    result.seconds = Since(start_);
    result.total_seconds = earlier_s_ + result.seconds;
    result.times = times_;
    return result;
  }

  static bool Resumes(const TrainOptions& options) {
    return options.checkpoints.resume || options.checkpoints.extend;
  }

  RunState Begin() {
    RunState state = Started();
    if (ranks_.many()) {
      RunRanks::Facts facts = ProgramFacts();
      facts.merge(FactsOf(state, task_, options_, fingerprint_));
      ranks_.CheckSame(facts);
    }
    if (ranks_.row_group() != nullptr) task_.AgreeOnSteps(*ranks_.row_group());
    return state;
  }

  // Everything is read before anything is cleared, and a checkpoint of the first state is written
  // before the first update: what a save needs (names, space, rights) is missed now and not after
  // hours, and from now on there is always a checkpoint to go on from.
  RunState Started() {
    std::vector<std::string> notes;
    std::optional<RunState> state;
    if (Resumes(options_)) {
      state = ResumeRun(task_, options_, fingerprint_, ranks_.world(), &notes);
      const bool found = state.has_value(), wanted = ranks_.First(found);
      Check(found == wanted, ErrorCode::kIo,
            "{}: this rank finds {} in it, rank 0 does not: all ranks need the same folder",
            io::Escape(options_.output.string()), found ? "a checkpoint" : "no checkpoint");
    }
    if (state) {
      for (const std::string& note : notes) Note(note);
      task_.parameters().AllocateGradients();
      saved_step_ = state->step;
      resumed_ = true;
      earlier_s_ = state->seconds;
      last_ = UpdateBefore(*state, options_);
      Note(fmt::format("resumed at step {}", state->step));
      return std::move(*state);
    }
    if (!ranks_.first()) {
      state = StartRun(task_, options_, ranks_.world(), nullptr);
      task_.parameters().AllocateGradients();
      saved_step_ = 0;
      return std::move(*state);
    }
    if (Resumes(options_)) CheckNothingToResume(options_.output);
    const std::vector<std::filesystem::path> old = ToBeCleared(options_, task_);
    Check(!options_.checkpoints.extend, ErrorCode::kUsage,
          "extend: {} has no run that could be made longer", io::Escape(options_.output.string()));
    state = StartRun(task_, options_, ranks_.world(), &notes);
    for (const std::string& note : notes) Note(note);
    task_.parameters().AllocateGradients();
    Clear(old);
    BeginRecord(options_.output);
    SharedState zero(nullptr, state->optimizer);
    SaveRun(*state, task_, options_, fingerprint_, zero);
    saved_step_ = 0;
    return std::move(*state);
  }

  static std::optional<idx_t> EvaluatedStep(const RunState& state) {
    return state.evaluated ? std::optional(state.evaluated->step) : std::nullopt;
  }
  double BitsOf(const Evaluated& e) const {
    return e.bits_per_byte.value_or(task_.BitsPerByte(e.loss));
  }

  bool IsOver() const { return state_.step >= options_.steps || IsOutOfTime() || EndsEarly(); }
  bool EndsEarly() const { return IsOutOfPatience(state_, options_.selection.patience); }
  bool IsOutOfTime() const {
    const double most = options_.checkpoints.max_time_s;
    return most > 0.0 && state_.step > 0 && ranks_.First(Seconds() >= most);
  }

  // Of the whole run.
  double Seconds() const { return earlier_s_ + Since(start_); }
  bool Due(idx_t every) const { return every > 0 && state_.step % every == 0; }
  // Of any rank.
  bool Asked(const std::function<bool()>& hook) const { return ranks_.Any(hook && hook()); }
  // Soon enough that the next update does not end behind the promised moment.
  bool FirstSaveIsDue() const {
    return !saved_here_ &&
           ranks_.First(Since(start_) + longest_update_s_ > options_.checkpoints.first_save_s);
  }

  // Rank 0 tells everything, the others where they are.
  void Emit(const TrainEvent& event) const {
    using Kind = TrainEvent::Kind;
    const bool told = ranks_.first() || event.kind == Kind::kStart || event.kind == Kind::kStep;
    if (told && hooks_.on_event) hooks_.on_event(event);
  }
  void Note(const std::string& text) const {
    TrainEvent event;
    event.kind = TrainEvent::Kind::kNote;
    event.text = text;
    Emit(event);
  }
  void TellStart() const {
    TrainEvent event;
    event.kind = TrainEvent::Kind::kStart;
    event.step = state_.step;
    event.steps = options_.steps;
    event.text = fmt::format("checkpoint-{}", saved_step_);
    event.accumulate = options_.accumulate;
    Emit(event);
    for (const std::string& note : ranks_.Notes(context_.threads(), options_.accumulate))
      Note(note);
  }

  // The losses of an update's micro-batches, and their gradients' sum in the table. Each adds its
  // share of the gradient of the mean over all of them.
  std::vector<TaskLoss> Accumulate(idx_t step, const StepSize& size) {
    const auto dropout_key =
        DeriveKey(KeyOf(options_.seed, RunKey::kDropout), static_cast<std::uint64_t>(step));
    std::vector<TaskLoss> losses;
    weights_.Send();
    for (idx_t micro = sum_.share().begin; micro < sum_.share().end; ++micro) {
      const StepDropout dropout{true, DeriveKey(dropout_key, static_cast<std::uint64_t>(micro))};
      const auto sending = sum_.SendDuring(context_, task_.parameters(), micro);
      losses.push_back(
          task_.Accumulate(context_, micro, 1.0f / static_cast<float>(size.divisor()), dropout));
      sum_.Add(context_, task_.parameters(), micro);
    }
    sum_.Finish(context_, task_.parameters());
    ranks_.Gather(&losses);
    return losses;
  }

  TrainEvent Step(idx_t first) {
    const double begin = probe::Seconds();
    exchanged_.BeginUpdate();
    const idx_t step = state_.step + 1;
    const double batches = task_.batch_seconds(), data = times_.data;
    const StepSize size = Draw(step);
    const std::vector<TaskLoss> losses = Accumulate(step, size);
    times_.data += task_.batch_seconds() - batches;
    std::vector<double> sums;
    idx_t correct = 0;
    std::vector<idx_t> bad_micros;
    for (const TaskLoss& part : losses) {
      if (!std::isfinite(part.sum)) bad_micros.push_back(std::ssize(sums));
      sums.push_back(part.sum);
      correct = part.correct < 0 ? -1 : correct + part.correct;
    }
    state_.optimizer.DropFrozenGradients(task_.parameters());
    TrainEvent event;
    event.loss = TreeSum(sums) / size.divisor();
    event.gradient_norm =
        std::sqrt(SharedSquaredNorm(context_, ranks_.world(), *shares_, task_.parameters()));
    event.skipped = !std::isfinite(event.loss) || !std::isfinite(event.gradient_norm);
    if (event.skipped) {
      Skip(step, event, std::move(bad_micros));
    } else {
      Update(step, event.gradient_norm);
      state_.skipped_in_a_row = 0;
    }
    state_.step = step;
    state_.tokens += size.tokens;
    if (correct >= 0) {
      event.metrics.push_back(
          {"accuracy", static_cast<double>(correct) / static_cast<double>(size.counted)});
    }
    event.step = step;
    event.steps = options_.steps;
    event.bits_per_byte = task_.BitsPerByte(event.loss);
    event.learning_rate = LearningRate(options_, step);
    event.tokens = state_.tokens;
    const double seconds = Since(begin);
    times_.computing += seconds - (times_.data - data);
    longest_update_s_ = std::max(longest_update_s_, seconds);
    event.tokens_per_s = static_cast<double>(size.tokens) / seconds;
    event.seconds = Seconds();
    event.seconds_left = Since(start_) / static_cast<double>(step - first) *
                         static_cast<double>(options_.steps - step);
    event.rss_bytes = PeakRssBytes();
    exchanged_.EndUpdate(seconds, &event);
    return event;
  }

  StepSize Draw(idx_t step) {
    const Stopwatch watch(&times_.data);
    return task_.Draw(step);
  }

  void TellStep(const TrainEvent& event) {
    const Stopwatch watch(&times_.log);
    Emit(event);
    LogStep(event);
  }

  // An update that would spoil the weights: it is left out, counted and told of. The micro-batches
  // whose loss is not finite are to blame; where all losses are finite, any may be.
  void Skip(idx_t step, const TrainEvent& event, std::vector<idx_t> bad_micros) {
    ClearGradients(ranks_.world(), *shares_, task_.parameters());
    ++state_.skipped;
    ++state_.skipped_in_a_row;
    if (bad_micros.empty()) {
      bad_micros.resize(static_cast<std::size_t>(options_.accumulate));
      std::iota(bad_micros.begin(), bad_micros.end(), 0);
    }
    std::vector<std::string> rows;
    for (const idx_t micro : bad_micros) {
      for (std::string& row : task_.RowsOf(micro)) rows.push_back(std::move(row));
    }
    const std::string what =
        fmt::format("step {}: loss {} and gradient norm {} are not both finite", step, event.loss,
                    event.gradient_norm);
    Note(fmt::format("{}: the update is not applied ({} so far); its rows: {}", what,
                     state_.skipped, ListedRows(rows)));
    if (state_.skipped_in_a_row >= kMostSkippedInARow) ranks_.EndTogether();
    Check(state_.skipped_in_a_row < kMostSkippedInARow, ErrorCode::kNumeric,
          "{}, as in the {} updates before: the run ends, checkpoint-{} is whole; lower "
          "--learning-rate, or look at the rows that were named",
          what, kMostSkippedInARow - 1, saved_step_);
  }

  // Clips by the gradient's norm, updates the weights, leaves the gradients zero.
  void Update(idx_t step, double norm) {
    ParameterTable& table = task_.parameters();
    state_.optimizer.Update(context_, table, StepsOf(options_, state_.head, table, step, norm));
    if (!ranks_.many()) return;
    weights_.Updated(table);
    ClearGradients(ranks_.world(), *shares_, table);
  }

  // False when a stop ended it: then nothing is known, and it is done again when the run goes on.
  bool Evaluate() {
    weights_.AwaitAll();
    const Stopwatch watch(&times_.evaluations);
    EvalHooks hooks;
    hooks.should_stop = hooks_.should_stop;
    hooks.on_progress = [this](idx_t done, idx_t all) {
      TrainEvent event;
      event.kind = TrainEvent::Kind::kEvaluating;
      event.step = done;
      event.steps = all;
      Emit(event);
    };
    RunRanks::Evaluation eval = ranks_.FromFirst([&]() -> RunRanks::Evaluation {
      try {
        return task_.Evaluate(context_, hooks);
      } catch (const Cancelled&) {
        context_.CheckCancelled();  // then the caller wants the run itself to end
        return std::nullopt;
      }
    });
    if (!eval) return false;
    const Evaluated found = {state_.step, eval->loss, eval->bits_per_byte,
                             std::move(eval->metrics)};
    Compare(found);
    state_.evaluated = found;
    TrainEvent event;
    event.kind = TrainEvent::Kind::kEval;
    event.step = state_.step;
    event.steps = options_.steps;
    event.loss = found.loss;
    event.bits_per_byte = BitsOf(found);
    event.metrics = found.metrics;
    event.tokens = state_.tokens;
    event.seconds = Seconds();
    event.rss_bytes = PeakRssBytes();
    Log(event);
    Emit(event);
    return true;
  }

  // What the run is decided by.
  double ValueOf(const Evaluated& found) const {
    return ValueOfMetric(options_, found.loss, BitsOf(found), found.metrics);
  }

  bool Beats(double value, const std::optional<double>& other) const {
    return other ? IsBetter(options_.selection.metric, value, *other) : std::isfinite(value);
  }

  // Counts evaluations without a gain. A run that leaves its best model saves it at once.
  void Compare(const Evaluated& found) {
    const double value = ValueOf(found);
    if (HasNoValue(found.loss, value)) return TellOfNoValue();
    const bool gains = Beats(value, state_.top_value);
    state_.without_gain = gains ? 0 : state_.without_gain + 1;
    if (gains) state_.top_value = value;
    best_is_owed_ = options_.selection.kept == KeptModel::kBest && Beats(value, state_.best_value);
  }

  void TellOfNoValue() {
    if (!std::exchange(told_of_no_value_, true)) {
      Note(
          fmt::format("step {}: {} has no value for these held-out texts: such an evaluation "
                      "counts neither for --patience nor for the best model",
                      state_.step, options_.selection.metric));
    }
  }

  // The best checkpoint is one of those that are written: at a save the model may become it.
  void ChooseBest() {
    if (EvaluatedStep(state_) != state_.step) return;
    const double value = ValueOf(*state_.evaluated);
    if (!Beats(value, state_.best_value)) return;
    state_.best = state_.evaluated;
    state_.best_value = value;
  }

  // A line says what the updates since the last one were like: their means. One that was skipped
  // has a line of its own.
  void LogStep(const TrainEvent& event) {
    last_ = event;
    if (event.skipped) return Log(event);
    state_.unlogged.Add(event);
    if (event.step % options_.checkpoints.log_every != 0 && event.step != options_.steps) return;
    LogMeans();
    state_.unlogged = {};
  }
  // Also where a run ends between two lines. Then the sums stay in the state: a resumed run drops
  // this line, and its next one has the means over these updates too (KeptLines::sums_open).
  void LogMeans() {
    if (state_.unlogged.updates == 0 || last_.skipped) return;
    TrainEvent means = state_.unlogged.Means(last_);
    means.bits_per_byte = task_.BitsPerByte(means.loss);
    Log(means);
  }

  // A line that cannot be written now (a full disk) waits for the next one, or for the next save,
  // which fails if it still cannot.
  void Log(const TrainEvent& event) {
    if (!ranks_.first()) return;
    unwritten_.push_back(event);
    try {
      WriteLog();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kIo || !options_.checkpoints.survive_save_error ||
          unwritten_.size() > kMostUnwritten) {
        throw;
      }
      if (unwritten_.size() == 1) Note(fmt::format("{}; it is tried again", error.what()));
    }
  }
  void WriteLog() {
    for (; !unwritten_.empty(); unwritten_.pop_front()) metrics_->Write(unwritten_.front());
  }

  enum class Failure { kEndsRun, kMayBeSurvived };
  // On rank 0, while the others call ServeState. False: it failed, and the run goes on.
  bool Write(Failure failure) {
    SharedState shared(ranks_.world(), state_.optimizer);
    try {
      WriteLog();
      metrics_->Sync();
      state_.seconds = Seconds();
      SaveRun(state_, task_, options_, fingerprint_, shared);
      return true;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kIo) throw;
      const std::string told =
          fmt::format("step {}: checkpoint not saved: {}; checkpoint-{} is whole, ", state_.step,
                      error.what(), saved_step_);
      Check(failure == Failure::kMayBeSurvived && options_.checkpoints.survive_save_error &&
                !save_failed_,
            ErrorCode::kIo, "{}--resume goes on from it", told);
      Note(told + "the training goes on, and ends when the next save fails too");
      return false;
    }
  }

  void Save(Failure failure) {
    weights_.AwaitAll();
    const Stopwatch watch(&times_.saves);
    const std::optional<Evaluated> best = state_.best;
    const std::optional<double> best_value = state_.best_value;
    best_is_owed_ = false;
    ChooseBest();
    if (!ranks_.first()) ServeState(*ranks_.world(), state_.optimizer);
    // A failure that ends the run is known to the others as rank 0's end.
    if (!ranks_.First(!ranks_.first() || Write(failure))) {
      save_failed_ = true;
      state_.best = best;
      state_.best_value = best_value;
      return;
    }
    save_failed_ = false;
    saved_here_ = true;
    if (saved_step_ == state_.step) return;  // again, with what its evaluation found
    saved_step_ = state_.step;
    TrainEvent event;
    event.kind = TrainEvent::Kind::kSave;
    event.step = state_.step;
    event.text = fmt::format("saved checkpoint-{}", state_.step);
    Emit(event);
  }

  // The last update is saved and evaluated whatever the rhythm, and the kept model lies in the
  // output.
  // Saved first, because an evaluation may take long and be killed; and again, because a checkpoint
  // says what its evaluation found. False when a stop ended the evaluation.
  bool Finish() {
    weights_.AwaitAll();
    if (saved_step_ != state_.step) Save(Failure::kEndsRun);
    if (EvaluatedStep(state_) != state_.step) {
      if (!Evaluate()) return false;
      Save(Failure::kEndsRun);
    }
    const SelectionOptions& selection = options_.selection;
    if (state_.step < options_.steps && EndsEarly()) {
      Note(fmt::format("step {}: the run ends early: {} evaluations in a row have not improved {}",
                       state_.step, state_.without_gain, selection.metric));
    }
    holds_best_ = selection.kept == KeptModel::kBest && ranks_.First(ranks_.first() && LoadBest());
    if (ranks_.first()) SaveRecorded(options_.output, task_);
    return true;
  }

  // The best model takes the place of the last one, which is in the last checkpoint. False when it
  // cannot be had.
  bool LoadBest() {
    if (!state_.best) {
      Note(fmt::format("no evaluation had a finite {}: the last model is kept",
                       options_.selection.metric));
      return false;
    }
    if (state_.best->step == state_.step) return true;
    const auto checkpoint = options_.output / fmt::format("checkpoint-{}", state_.best->step);
    try {
      io::VerifyCheckpoint(checkpoint);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kFormat && error.code() != ErrorCode::kIo) throw;
      Note(fmt::format("{}; the last model is kept in place of the best one", error.what()));
      return false;
    }
    // Room for a second model while the first is still there.
    state_.optimizer = OptimizerState();
    sum_.Free();
    task_.Load(checkpoint, TrainTask::Origin::kCheckpoint, nullptr);
    return true;
  }

  static constexpr idx_t kMostSkippedInARow = 3;
  static constexpr std::size_t kMostUnwritten = 100'000;

  Context& context_;
  const TrainOptions& options_;
  TrainTask& task_;
  const TrainHooks& hooks_;
  const double start_ = probe::Seconds();
  const RunRanks ranks_;
  std::string fingerprint_;
  bool resumed_ = false;       // Begin sets it, and this:
  double earlier_s_ = 0.0;     // seconds of the processes before this one
  idx_t saved_step_ = -1;      // of the newest checkpoint; Begin sets it
  bool saved_here_ = false;    // since Begin
  bool save_failed_ = false;   // the last one
  bool best_is_owed_ = false;  // this model is the best, and not saved yet
  bool holds_best_ = false;    // the task's model is that of the best evaluation
  bool told_of_no_value_ = false;
  double longest_update_s_ = 0.0;
  TrainTimes times_;
  TrainEvent last_;                   // of the newest update
  std::deque<TrainEvent> unwritten_;  // lines of metrics.jsonl
  RunState state_;
  const std::shared_ptr<const ParameterShares> shares_;
  GradientSum sum_;
  WeightExchange weights_;  // goes on during the next forward pass, and ends before all else
  UpdateExchanges exchanged_;
  std::optional<MetricsLog> metrics_;  // of rank 0
};

TrainResult RunOnThisRank(Context& context, const TrainOptions& options, TrainTask& task,
                          const TrainHooks& hooks) {
  const RunRanks ranks(context);
  std::optional<io::DirectoryLock> lock;
  if (ranks.first()) {
    io::EnsureWritableDirectory(options.output);
    lock.emplace(options.output);
    io::RecoverRunDirectory(options.output);
  }
  ranks.Meet();  // the others read what rank 0 has recovered
  return Trainer(context, options, task, hooks).Run();
}

}  // namespace

TrainResult RunTraining(Context& context, const TrainOptions& options, TrainTask& task,
                        const TrainHooks& hooks) {
  CheckTrainOptions(options);
  World* world = context.world();
  CheckMicroBatches(world, options.accumulate, options.row_ranks);
  try {
    const SharedRows rows(context, options.row_ranks);
    return RunOnThisRank(context, options, task, hooks);
  } catch (const std::exception& error) {
    if (world != nullptr) world->Abandon(error.what(), CodeOf(error));
    throw;
  }
}

}  // namespace longspan
