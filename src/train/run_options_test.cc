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

// ---- the log of a run that ends between two lines -----------------------------------------------

using StepsAndLosses = std::vector<std::pair<idx_t, double>>;

StepsAndLosses LossesOf(const std::vector<nlohmann::json>& lines) {
  StepsAndLosses losses;
  for (const nlohmann::json& line : lines) losses.emplace_back(line["step"], line["loss"]);
  return losses;
}

TEST_F(TrainerTest, ARunThatIsStoppedLogsItsLastUpdates) {
  o.checkpoints.eval_every = 0;  // evaluations ask for a stop too
  Run();
  const StepsAndLosses each = LossesOf(Lines("train"));
  o.output = d.path() / "undisturbed";
  o.checkpoints.log_every = 5;
  o.checkpoints.tensorboard = true;
  Run();
  const StepsAndLosses whole = LossesOf(Lines("train"));
  ASSERT_EQ(whole.size(), 3u);  // 5, 10, 12
  o.output = d.path() / "stopped";
  idx_t updates = 0;
  should_stop = [&] { return ++updates == 7; };
  EXPECT_TRUE(Run().stopped);
  const StepsAndLosses stopped = LossesOf(Lines("train"));
  ASSERT_EQ(stopped.size(), 2u);
  EXPECT_EQ(stopped[0], whole[0]);
  EXPECT_EQ(stopped[1].first, 7);
  EXPECT_DOUBLE_EQ(stopped[1].second, (each[5].second + each[6].second) / 2.0);
  should_stop = {};
  o.checkpoints.resume = true;
  Run();
  EXPECT_EQ(LossesOf(Lines("train")), whole);
}

TEST_F(TrainerTest, ARunWhoseTimeIsOverLogsItsLastUpdates) {
  o.checkpoints.log_every = 5;
  Run();
  const StepsAndLosses whole = LossesOf(Lines("train"));
  o.output = d.path() / "short";
  o.checkpoints.max_time_s = 1e-9;
  Run();
  const std::vector<nlohmann::json> first = Lines("train");
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(first[0]["step"], 1);
  o.checkpoints.resume = true;
  Run();  // makes no update: what it says of the last one is what the checkpoint knows
  const std::vector<nlohmann::json> again = Lines("train");
  EXPECT_EQ(LossesOf(again), LossesOf(first));
  for (const char* name : {"tokens", "learning_rate", "grad_norm"}) {
    EXPECT_EQ(again[0][name], first[0][name]) << name;
  }
  o.checkpoints.max_time_s = 0.0;
  Run();
  EXPECT_EQ(LossesOf(Lines("train")), whole);
}

TEST_F(TrainerTest, AnUpdateThatWasNotAppliedHasALineOfItsOwnAtTheEndToo) {
  o.checkpoints.eval_every = 0;
  o.checkpoints.log_every = 5;
  const auto bad = [](Parabola& task) { task.bad_loss = {7}; };
  Run(bad);
  const auto steps = [&] {
    std::vector<idx_t> all;
    for (const nlohmann::json& line : Lines("train")) all.push_back(line["step"]);
    return all;
  };
  const std::vector<idx_t> whole = steps();
  o.output = d.path() / "stopped";
  idx_t updates = 0;
  should_stop = [&] { return ++updates == 7; };
  EXPECT_TRUE(Run(bad).stopped);
  EXPECT_EQ(steps(), (std::vector<idx_t>{5, 7}));
  should_stop = {};
  o.checkpoints.resume = true;
  Run(bad);
  EXPECT_EQ(steps(), whole);
}

}  // namespace
}  // namespace longspan
