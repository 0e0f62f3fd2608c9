#include "train/task_options.h"

#include "base/errors.h"
#include "train/selection.h"

namespace longspan {
namespace {

// Who uses an option, and whether it has been given: it differs from what it is without.
struct SharedOption {
  const char* name;
  const char* users;  // for people
  bool (*used_by)(std::string_view task);
  bool (*given)(const TrainOptions& options);
};

bool IsLm(std::string_view task) { return task == "lm"; }
bool IsLanguageModel(std::string_view task) { return task == "lm" || task == "mlm"; }
bool IsNoLm(std::string_view task) { return task != "lm"; }

constexpr SharedOption kSharedOptions[] = {
    {"lengths", "language models and masked ones", IsLanguageModel,
     [](const TrainOptions& o) { return !o.lengths.empty(); }},
    {"gradient-streams", "language models of Reformers", IsLm,
     [](const TrainOptions& o) { return o.compute.gradient_streams != DType::kF32; }},
    {"attention", "language models of Reformers", IsLm,
     [](const TrainOptions& o) {
       return o.compute.reformer.attention != ReformerAttention::kConfigured;
     }},
    {"num-hashes", "language models of Reformers", IsLm,
     [](const TrainOptions& o) { return o.compute.reformer.num_hashes != 0; }},
    {"no-lm-bias", "language models of Reformers", IsLm,
     [](const TrainOptions& o) { return !o.compute.reformer.lm_bias; }},
    {"strict", "language models of Reformers", IsLm,
     [](const TrainOptions& o) { return o.compute.reformer.strict; }},
    {"recompute", "models whose layers save something, not Reformers", IsNoLm,
     [](const TrainOptions& o) { return o.compute.recompute; }},
};

// An option that another one leaves without effect.
struct IdleOption {
  const char* name;
  const char* why;  // for people
  bool (*idle)(const TrainOptions& options);
};

constexpr IdleOption kIdleOptions[] = {
    {"held-out", "with --eval, whose texts are held out",
     [](const TrainOptions& o) {
       return !o.data.eval.empty() && o.data.held_out != TrainData().held_out;
     }},
    {"final-rate", "with this schedule, only with cosine and linear",
     [](const TrainOptions& o) {
       const bool falls_to_it =
           o.schedule.kind == ScheduleKind::kCosine || o.schedule.kind == ScheduleKind::kLinear;
       const bool agrees =
           o.schedule.kind == ScheduleKind::kConstant && o.schedule.final_rate == 1.0;
       return !falls_to_it && !agrees &&
              o.schedule.final_rate != TrainOptions().schedule.final_rate &&
              o.schedule.final_rate != FineTuneOptions().schedule.final_rate;
     }},
};

}  // namespace

void CheckTaskOptions(const TrainOptions& options, std::string_view task,
                      const std::vector<std::string>& metrics) {
  for (const SharedOption& option : kSharedOptions) {
    Check(option.used_by(task) || !option.given(options), ErrorCode::kUsage,
          "{}: has no effect on train {}, only on {}; leave it out", option.name, task,
          option.users);
  }
  for (const IdleOption& option : kIdleOptions) {
    Check(!option.idle(options), ErrorCode::kUsage, "{}: has no effect {}; leave it out",
          option.name, option.why);
  }
  CheckSelection(options, task, metrics);
}

}  // namespace longspan
