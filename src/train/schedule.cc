#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/errors.h"

namespace longspan {

double LearningRate(const TrainOptions& o, idx_t step) {
  const double full = o.learning_rate;
  if (step <= o.warmup) return full * static_cast<double>(step) / static_cast<double>(o.warmup);
  const double span = static_cast<double>(std::max<idx_t>(1, o.steps - o.warmup));
  const double progress = std::min(1.0, static_cast<double>(step - o.warmup) / span);
  switch (o.schedule) {
    case Schedule::kConstant:
      return full;
    case Schedule::kLinear:
      return full * (1.0 - (1.0 - o.final_rate) * progress);
    case Schedule::kCosine:
      return full * (o.final_rate +
                     (1.0 - o.final_rate) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress)));
  }
  return full;
}

void ResolveWarmup(TrainOptions* options) {
  if (options->warmup < 0)
    options->warmup = std::llround(0.06 * static_cast<double>(options->steps));
}

TrainOptions FineTuneOptions() {
  TrainOptions o;
  o.batch = 1;
  o.accumulate = 8;
  o.tokens = 0;
  o.learning_rate = 3e-5;
  o.final_rate = 0.0;
  o.schedule = Schedule::kLinear;
  o.warmup = -1;
  o.beta2 = 0.999;
  o.weight_decay = 0.01;
  return o;
}

Schedule ParseSchedule(const std::string& name) {
  for (const Schedule s : {Schedule::kCosine, Schedule::kLinear, Schedule::kConstant}) {
    if (name == ScheduleName(s)) return s;
  }
  Fail(ErrorCode::kUsage, "schedule '{}' is unknown; use cosine, linear or constant", name);
}

const char* ScheduleName(Schedule schedule) {
  switch (schedule) {
    case Schedule::kCosine:
      return "cosine";
    case Schedule::kLinear:
      return "linear";
    case Schedule::kConstant:
      return "constant";
  }
  return "?";
}

}  // namespace longspan
