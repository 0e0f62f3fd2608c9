// What options do to a run, around a task that is four numbers and a parabola.
#include "train/trainer_test.h"

namespace longspan {
namespace {

// ---- optimizers ---------------------------------------------------------------------------------

TEST_F(TrainerTest, EveryOptimizerIsResumedBitForBit) {
  o.checkpoints.eval_every = 0;
  std::set<std::string> found;
  // SGD without momentum has no state.
  const std::pair<OptimizerKind, double> kinds[] = {{OptimizerKind::kAdamW, 0.9},
                                                    {OptimizerKind::kAdafactor, 0.9},
                                                    {OptimizerKind::kSgd, 0.9},
                                                    {OptimizerKind::kSgd, 0.0}};
  for (const auto& [kind, momentum] : kinds) {
    SCOPED_TRACE(OptimizerName(kind));
    o.optimizer.kind = kind;
    o.optimizer.momentum = momentum;
    o.checkpoints.resume = false;
    o.output = d.path() / fmt::format("{}{}", OptimizerName(kind), momentum);
    Run();
    const std::string whole = numbers;
    found.insert(whole);
    o.output += "-stopped";
    idx_t updates = 0;
    should_stop = [&] { return ++updates == 5; };
    EXPECT_TRUE(Run().stopped);
    should_stop = {};
    o.checkpoints.resume = true;
    Run();
    EXPECT_EQ(numbers, whole);
    o.optimizer.kind = kind == OptimizerKind::kSgd ? OptimizerKind::kAdamW : OptimizerKind::kSgd;
    EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "optimizer"));
  }
  EXPECT_EQ(found.size(), 4u);
}

TEST_F(TrainerTest, OptionsOfAnOptimizerAreChecked) {
  EXPECT_TRUE(Throws([] { ParseOptimizer("adam"); }, ErrorCode::kUsage,
                     "optimizer 'adam' is unknown; use adamw, adafactor or sgd"));
  o.optimizer.kind = OptimizerKind::kSgd;
  o.optimizer.momentum = 0.0;
  o.optimizer.nesterov = true;
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "nesterov needs a momentum"));
  o.optimizer.kind = OptimizerKind::kAdafactor;
  o.optimizer.update_clip = 0.5;
  EXPECT_TRUE(Throws([&] { Run(); }, ErrorCode::kUsage, "update clip 0.5"));
}

TEST(OptimizerOptions, OfOthersAreRefused) {
  const std::pair<const char*, OptimizerKind> own[] = {
      {"beta1", OptimizerKind::kAdamW},           {"beta2", OptimizerKind::kAdamW},
      {"epsilon", OptimizerKind::kAdamW},         {"momentum", OptimizerKind::kSgd},
      {"nesterov", OptimizerKind::kSgd},          {"beta2-decay", OptimizerKind::kAdafactor},
      {"update-clip", OptimizerKind::kAdafactor},
  };
  for (const auto& [option, owner] : own) {
    for (const OptimizerKind kind :
         {OptimizerKind::kAdamW, OptimizerKind::kAdafactor, OptimizerKind::kSgd}) {
      if (kind == owner) {
        EXPECT_NO_THROW(CheckOptimizerHas(kind, option)) << option;
        continue;
      }
      const std::string option_name = option;
      EXPECT_TRUE(Throws([&] { CheckOptimizerHas(kind, option_name); }, ErrorCode::kUsage,
                         std::string("--") + option + " is an option of " + OptimizerName(owner)));
    }
  }
  EXPECT_NO_THROW(CheckOptimizerHas(OptimizerKind::kSgd, "weight-decay"));
}

// ---- time ---------------------------------------------------------------------------------------

TEST_F(TrainerTest, ARunEndsWhenItsTimeIsOverAndMayGoOn) {
  Run();
  const std::string whole = numbers;
  o.output = d.path() / "short";
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  o.checkpoints.max_time_s = 1e-9;
  const TrainResult first = Run();
  EXPECT_EQ(first.step, 1);  // at least one
  EXPECT_TRUE(first.out_of_time);
  EXPECT_FALSE(first.stopped);
  EXPECT_EQ(notes.find("ends early"), std::string::npos) << notes;  // no evaluation is to blame
  EXPECT_EQ(saves.back(), 1);
  EXPECT_EQ(Lines("eval").size(), 1u);
  EXPECT_TRUE(fs::exists(o.output / "numbers.txt"));  // the model lies there, as at the end
  // The time of the processes before counts: nothing is left.
  o.checkpoints.resume = true;
  EXPECT_EQ(Run().step, 1);
  EXPECT_EQ(Lines("eval").size(), 1u);
  o.checkpoints.max_time_s = 0.0;
  const TrainResult rest = Run();
  EXPECT_EQ(rest.step, 12);
  EXPECT_FALSE(rest.out_of_time);
  EXPECT_EQ(numbers, whole);
}

}  // namespace
}  // namespace longspan
