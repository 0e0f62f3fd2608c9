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
  const double span = static_cast<double>(std::max<idx_t>(1, o.steps - o.schedule.warmup));
  const double progress = std::min(1.0, static_cast<double>(step - o.schedule.warmup) / span);
  switch (o.schedule.kind) {
    case ScheduleKind::kConstant:
      return full;
    case ScheduleKind::kLinear:
      return full * (1.0 - (1.0 - o.schedule.final_rate) * progress);
    case ScheduleKind::kInverseSqrt: {
      const idx_t scale = o.schedule.warmup > 0 ? o.schedule.warmup : kInverseSqrtScale;
      return full / std::sqrt(static_cast<double>(step - o.schedule.warmup + scale) /
                              static_cast<double>(scale));
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
