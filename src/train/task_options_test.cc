#include "train/task_options.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string_view>
#include <vector>

#include "tests/support/files.h"

namespace longspan {
namespace {

TEST(TaskOptions, WhatATrainingPassesOverIsRefused) {
  struct Case {
    const char* option;
    std::function<void(TrainOptions& options)> give;
    std::vector<const char*> users;
  };
  const std::vector<Case> cases = {
      {"lengths",
       [](TrainOptions& o) {
         o.lengths = {{64, 0}};
       },
       {"lm", "mlm"}},
      {"gradient-streams",
       [](TrainOptions& o) { o.compute.gradient_streams = DType::kBF16; },
       {"lm"}},
      {"attention",
       [](TrainOptions& o) { o.compute.reformer.attention = ReformerAttention::kFull; },
       {"lm"}},
      {"num-hashes", [](TrainOptions& o) { o.compute.reformer.num_hashes = 2; }, {"lm"}},
      {"no-lm-bias", [](TrainOptions& o) { o.compute.reformer.lm_bias = false; }, {"lm"}},
      {"strict", [](TrainOptions& o) { o.compute.reformer.strict = true; }, {"lm"}},
      {"recompute",
       [](TrainOptions& o) { o.compute.recompute = true; },
       {"mlm", "classify", "token-classify", "qa", "multiple-choice", "embed", "rerank"}},
  };
  for (const Case& one : cases) {
    TrainOptions options;
    one.give(options);
    for (const char* task :
         {"lm", "mlm", "classify", "token-classify", "qa", "multiple-choice", "embed", "rerank"}) {
      const bool used = std::find_if(one.users.begin(), one.users.end(), [&](const char* user) {
                          return std::string_view(user) == task;
                        }) != one.users.end();
      EXPECT_NO_THROW(CheckTaskOptions({}, task, {}));
      if (used) {
        EXPECT_NO_THROW(CheckTaskOptions(options, task, {})) << one.option << " " << task;
        continue;
      }
      EXPECT_TRUE(
          test::Throws([&] { CheckTaskOptions(options, task, {}); }, ErrorCode::kUsage,
                       fmt::format("{}: has no effect on train {}, only on ", one.option, task)));
    }
  }
}

TEST(TaskOptions, WhatAnotherOptionLeavesIdleIsRefused) {
  const auto refuses = [](const TrainOptions& options, const char* says) {
    return test::Throws([&] { CheckTaskOptions(options, "qa", {}); }, ErrorCode::kUsage, says);
  };
  for (TrainOptions options : {TrainOptions(), FineTuneOptions()}) {
    options.data.eval = "test.csv";
    EXPECT_NO_THROW(CheckTaskOptions(options, "qa", {}));
    options.data.held_out = 0.2;
    EXPECT_TRUE(refuses(options, "held-out: has no effect with --eval"));
    options.data.eval.clear();
    for (const ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kInverseSqrt}) {
      TrainOptions steady = options;
      steady.schedule.kind = kind;
      EXPECT_NO_THROW(CheckTaskOptions(steady, "qa", {}));
      steady.schedule.final_rate = 0.5;
      EXPECT_TRUE(refuses(steady, "final-rate: has no effect with this schedule"));
    }
    options.schedule = {ScheduleKind::kConstant, 0, 1.0};
    EXPECT_NO_THROW(CheckTaskOptions(options, "qa", {}));
    for (const ScheduleKind kind : {ScheduleKind::kCosine, ScheduleKind::kLinear}) {
      options.schedule = {kind, 0, 0.5};
      EXPECT_NO_THROW(CheckTaskOptions(options, "qa", {}));
    }
  }
}

}  // namespace
}  // namespace longspan
