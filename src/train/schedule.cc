#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/errors.h"

namespace longspan {

namespace {

// Updates after which an inverse square root without a warm-up has fallen to 1 / sqrt(2).
constexpr idx_t kInverseSqrtScale = 10'000;

}  // namespace

double LearningRate(const TrainOptions& options, idx_t step) {
  return LearningRate(options, step, options.optimizer.learning_rate);
}

double LearningRate(const TrainOptions& o, idx_t step, double full) {
  if (step <= o.schedule.warmup)
    return full * static_cast<double>(step) / static_cast<double>(o.schedule.warmup);
  // Updates since the warm-up before this one: the first has the full rate, the last a share of it
  // that is not yet zero.
  const idx_t before = step - 1 - o.schedule.warmup;
  const double span = static_cast<double>(std::max<idx_t>(1, o.steps - o.schedule.warmup));
  const double progress = std::min(1.0, static_cast<double>(before) / span);
  switch (o.schedule.kind) {
    case ScheduleKind::kConstant:
      return full;
    case ScheduleKind::kLinear:
      return full * (1.0 - (1.0 - o.schedule.final_rate) * progress);
    case ScheduleKind::kInverseSqrt: {
      const idx_t scale = o.schedule.warmup > 0 ? o.schedule.warmup : kInverseSqrtScale;
      return full / std::sqrt(static_cast<double>(before + scale) / static_cast<double>(scale));
    }
    case ScheduleKind::kCosine:
      return full * (o.schedule.final_rate + (1.0 - o.schedule.final_rate) * 0.5 *
                                                 (1.0 + std::cos(std::numbers::pi * progress)));
  }
  return full;
}

void ResolveWarmup(TrainOptions* options) {
  if (options->schedule.warmup < 0)
    options->schedule.warmup = std::llround(0.06 * static_cast<double>(options->steps));
}

std::function<OptimizerStep(std::size_t)> StepsOf(const TrainOptions& options,
                                                  const std::vector<bool>& head,
                                                  const ParameterTable& table, idx_t step,
                                                  double norm) {
  OptimizerStep of_all;
  of_all.step = step;
  of_all.learning_rate = LearningRate(options, step);
  if (options.optimizer.clip > 0.0 && norm > options.optimizer.clip) {
    of_all.gradient_scale = static_cast<float>(options.optimizer.clip / norm);
  }
  const double head_rate = LearningRate(
      options, step, options.trained.head_learning_rate.value_or(options.optimizer.learning_rate));
  return [&options, &head, &table, of_all, head_rate](std::size_t i) {
    OptimizerStep of_this = of_all;
    if (!head.empty() && head[i]) of_this.learning_rate = head_rate;
    const bool decays = table.list()[i].kind == ParameterKind::kMatrix;
    of_this.weight_decay = decays ? options.optimizer.weight_decay : 0.0;
    return of_this;
  };
}

TrainOptions FineTuneOptions() {
  TrainOptions o;
  o.batch = 1;
  o.accumulate = 8;
  o.tokens = 0;
  o.optimizer.learning_rate = 3e-5;
  o.schedule.final_rate = 0.0;
  o.schedule.kind = ScheduleKind::kLinear;
  o.schedule.warmup = -1;
  o.optimizer.beta2 = 0.999;
  o.optimizer.weight_decay = 0.01;
  o.selection.kept = KeptModel::kBest;
  return o;
}

ScheduleKind ParseSchedule(std::string_view name) {
  for (const ScheduleKind s : {ScheduleKind::kCosine, ScheduleKind::kLinear,
                               ScheduleKind::kConstant, ScheduleKind::kInverseSqrt}) {
    if (name == ScheduleName(s)) return s;
  }
  Fail(ErrorCode::kUsage, "schedule '{}' is unknown; use cosine, linear, constant or inverse-sqrt",
       name);
}

const char* ScheduleName(ScheduleKind schedule) {
  switch (schedule) {
    case ScheduleKind::kCosine:
      return "cosine";
    case ScheduleKind::kLinear:
      return "linear";
    case ScheduleKind::kConstant:
      return "constant";
    case ScheduleKind::kInverseSqrt:
      return "inverse-sqrt";
  }
  return "?";
}

}  // namespace longspan
