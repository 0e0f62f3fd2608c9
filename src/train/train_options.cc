// The options of a training: what may be asked for, and what follows from the context.

#include <algorithm>

#include "base/errors.h"
#include "base/memory_limit.h"
#include "families/families.h"
#include "model/model_config.h"
#include "model/optimizers.h"
#include "model/step_memory.h"
#include "model/text_model.h"
#include "train/gradient_sum.h"
#include "train/run_ranks.h"
#include "train/run_state.h"
#include "train/trained_parameters.h"
#include "train/trainer.h"
#include "world/row_group.h"

namespace longspan {

namespace {

// The micro-batches of the run that is resumed, or one a rank at least.
idx_t MicroBatches(const World* world, const TrainOptions& options) {
  const bool resumes = options.checkpoints.resume || options.checkpoints.extend;
  const idx_t least = RanksIn(world) / options.row_ranks;
  const std::optional<idx_t> of_run = resumes ? AccumulateOfRun(options.output) : std::nullopt;
  return of_run.value_or(std::max(least, options.accumulate));
}

// How the ranks share the start model's parameters.
ParameterShares SharesOfStart(const TrainOptions& options) {
  const auto model =
      ReadModelConfig(OpenModelFolder(options.model))->Make(ParameterMemory::kBorrowed);
  StepPolicy policy;
  policy.frozen = FrozenBy(options.trained);
  FreezeAsPlanned(policy, model->parameters());
  return SharesOf(options.optimizer, model->parameters(), options.compute.ranks);
}

// Before anything is read: the launcher has started what shares rows, and the model can.
void CheckSharedRows(const World* world, const TrainOptions& options) {
  const int shared = options.row_ranks;
  CheckGroups(RanksIn(world), shared);
  if (shared == 1) return;
  CheckRowRanks(ReadModelConfig(OpenModelFolder(options.model))->info(), shared);
}

}  // namespace

TrainOptions OptionsFor(const Context& context, TrainOptions options) {
  const std::size_t limit = context.memory_limit();
  std::size_t& memory = options.compute.memory;
  if (limit > 0) memory = memory == 0 ? limit : std::min(memory, limit);
  CheckSharedRows(context.world(), options);
  if (options.accumulate_for_ranks) {
    options.accumulate = MicroBatches(context.world(), options);
  }
  options.compute.sums = 0;
  options.compute.ranks = RanksIn(context.world());
  if (memory > 0 && (options.accumulate > 1 || options.compute.ranks > 1)) {
    options.compute.sums =
        GradientSumBytes(options.accumulate, SharesOfStart(options), options.row_ranks);
  }
  return options;
}

void CheckTrainOptions(const TrainOptions& o) {
  const auto in_range = [](const char* name, double value, double low, double high) {
    Check(value >= low && value <= high, ErrorCode::kUsage, "{}: {} is not from {} to {}", name,
          value, low, high);
  };
  constexpr double kMost = 1e12;
  in_range("steps", static_cast<double>(o.steps), 1, kMost);
  in_range("batch", static_cast<double>(o.batch), 1, 1 << 20);
  in_range("accumulate", static_cast<double>(o.accumulate), 1, 1 << 20);
  in_range("learning-rate", o.optimizer.learning_rate, 0, 100);
  in_range("head-lr", o.trained.head_learning_rate.value_or(0.0), 0, 100);
  in_range("final-rate", o.schedule.final_rate, 0, 1);
  in_range("warmup", static_cast<double>(o.schedule.warmup), -1, kMost);
  in_range("beta1", o.optimizer.beta1, 0, 0.999999);
  in_range("beta2", o.optimizer.beta2, 0, 0.999999999);
  in_range("adam-eps", o.optimizer.epsilon, 1e-30, 1);
  in_range("weight-decay", o.optimizer.weight_decay, 0, 100);
  in_range("clip", o.optimizer.clip, 0, 1e9);
  MakeOptimizer(o.optimizer);  // refuses options of its own
  in_range("held-out", o.data.held_out, 0, 0.99);
  in_range("log-every", static_cast<double>(o.checkpoints.log_every), 1, kMost);
  in_range("eval-every", static_cast<double>(o.checkpoints.eval_every), 0, kMost);
  in_range("save-every", static_cast<double>(o.checkpoints.save_every), 0, kMost);
  in_range("keep", static_cast<double>(o.checkpoints.keep), 2, 1e6);
  if (o.compute.dropout) in_range("dropout", *o.compute.dropout, 0, 0.99);
  in_range("first-save", o.checkpoints.first_save_s, 0, kMost);
  in_range("max-time", o.checkpoints.max_time_s, 0, kMost);
  Check(!((o.checkpoints.resume || o.checkpoints.extend) && o.checkpoints.overwrite),
        ErrorCode::kUsage, "{} and overwrite exclude each other: go on with the run, or clear it",
        o.checkpoints.resume ? "resume" : "extend");
}

}  // namespace longspan
