// Which model a run leaves, and when it ends early.
#include "train/selection.h"

#include <fstream>

#include "train/classify_task.h"
#include "train/trainer_test.h"

namespace longspan {
namespace {

// Best where the first number is nearest to 0.5; it grows by 0.1 with each update.
std::vector<TrainMetric> NearAHalf(double first) {
  return {{"accuracy", 1.0 - std::abs(first - 0.5)}};
}

class SelectionTest : public TrainerTest {
 protected:
  SelectionTest() {
    o.checkpoints.eval_every = 2;
    o.checkpoints.save_every = 5;
    o.selection.metric = "accuracy";
    o.selection.kept = KeptModel::kBest;
  }
  TrainResult RunMeasured(const std::function<void(Parabola&)>& prepare = {}) {
    return Run([&](Parabola& task) {
      task.measure = NearAHalf;
      if (prepare) prepare(task);
    });
  }
  // The numbers of the model in the output.
  std::string Left() const { return Read(o.output / "numbers.txt"); }
  nlohmann::json Best() const { return nlohmann::json::parse(Read(o.output / "best.json")); }
  // The numbers of a checkpoint.
  std::string NumbersOf(idx_t step) const {
    Parabola task(o);
    task.Load(o.output / fmt::format("checkpoint-{}", step), TrainTask::Origin::kCheckpoint,
              nullptr);
    return task.Numbers();
  }
  // Step and loss of each line.
  std::string Curve(const std::string& kind) const {
    std::string text;
    for (const nlohmann::json& line : Lines(kind)) {
      text += fmt::format("{} {}\n", line["step"].dump(), line["loss"].dump());
    }
    return text;
  }
};

TEST(SelectionOptionsTest, NamesSayWhatIsBetter) {
  for (const char* name : {"loss", "bits_per_byte", "perplexity", "mse"}) {
    EXPECT_TRUE(IsBetter(name, 1.0, 2.0)) << name;
    EXPECT_FALSE(IsBetter(name, 2.0, 1.0)) << name;
  }
  for (const char* name : {"accuracy", "macro_f1", "exact_match", "pearson"}) {
    EXPECT_TRUE(IsBetter(name, 2.0, 1.0)) << name;
    EXPECT_FALSE(IsBetter(name, 1.0, 1.0)) << name;
    EXPECT_FALSE(IsBetter(name, static_cast<double>(kNan), 1.0)) << name;
  }
}

TEST(SelectionOptionsTest, UnknownNamesAreRefusedBeforeAnythingIsRead) {
  Context context(1);
  TrainOptions o = FineTuneOptions();
  o.model = "/nowhere";
  o.selection.metric = "f1";
  EXPECT_TRUE(Throws([&] { TrainClassifier(context, o, {}); }, ErrorCode::kUsage,
                     "metric: 'f1' is unknown; train classify has loss, accuracy, "));
  ClassifyOptions numbers;
  numbers.problem = ProblemType::kRegression;
  o.selection.metric = "accuracy";
  EXPECT_TRUE(Throws([&] { TrainClassifier(context, o, numbers); }, ErrorCode::kUsage,
                     "train classify has loss, mse, pearson"));
  EXPECT_TRUE(Throws([&] { TrainLanguageModel(context, o); }, ErrorCode::kUsage,
                     "train lm has loss, bits_per_byte"));
  o.selection.metric = "mse";
  EXPECT_TRUE(Throws([&] { TrainMaskedLm(context, o, {}); }, ErrorCode::kUsage,
                     "train mlm has loss, accuracy, perplexity"));
  o.selection.metric = "loss";
  o.selection.patience = -1;
  EXPECT_TRUE(Throws([&] { TrainMaskedLm(context, o, {}); }, ErrorCode::kUsage, "below 0"));
  o.selection.patience = 1;
  o.checkpoints.eval_every = 0;
  EXPECT_TRUE(Throws([&] { TrainMaskedLm(context, o, {}); }, ErrorCode::kUsage, "eval-every 0"));
}

TEST_F(SelectionTest, TheBestModelIsLeft) {
  const TrainResult result = RunMeasured();
  EXPECT_EQ(result.step, 12);
  EXPECT_FALSE(result.ended_early);
  EXPECT_EQ(Best()["step"], result.model_step);
  EXPECT_EQ(Best()["metric"], "eval_accuracy");
  EXPECT_EQ(Best()["value"], result.metrics.front().value);
  EXPECT_GT(result.metrics.front().value, 0.85);
  EXPECT_TRUE(result.model_step == 4 || result.model_step == 6) << result.model_step;
  EXPECT_EQ(Left(), NumbersOf(result.model_step));
  EXPECT_NE(Left(), NumbersOf(12));
  for (const nlohmann::json& line : Lines("eval")) {
    EXPECT_LE(line["accuracy"], result.metrics.front().value);
    if (line["step"] == result.model_step) {
      EXPECT_EQ(line["loss"], result.eval_loss);
    }
  }
  // Asked for the last model, the finished run leaves that one.
  o.checkpoints.resume = true;
  o.selection.kept = KeptModel::kLast;
  const TrainResult last = RunMeasured();
  EXPECT_EQ(last.model_step, 12);
  EXPECT_EQ(Left(), NumbersOf(12));
  EXPECT_NE(last.metrics.front().value, result.metrics.front().value);
}

TEST_F(SelectionTest, PatienceEndsTheRunAndExtendingGivesItAgain) {
  o.selection.patience = 2;
  const TrainResult result = RunMeasured();
  EXPECT_TRUE(result.ended_early);
  EXPECT_EQ(result.step, result.model_step + 4);  // two evaluations later
  EXPECT_EQ(Newest(), result.step);
  EXPECT_EQ(Left(), NumbersOf(result.model_step));
  EXPECT_NE(notes.find("2 evaluations in a row have not improved accuracy"), std::string::npos);
  const std::string curve = Curve("train");
  o.checkpoints.resume = true;  // nothing is left to do
  const TrainResult again = RunMeasured();
  EXPECT_TRUE(again.ended_early);
  EXPECT_EQ(again.step, result.step);
  EXPECT_EQ(again.model_step, result.model_step);
  EXPECT_EQ(Curve("train"), curve);
  o.selection.patience = 3;
  EXPECT_TRUE(Throws([&] { RunMeasured(); }, ErrorCode::kUsage,
                     "--patience 2, this command goes on with --patience 3"));
  o.checkpoints.resume = false;
  o.checkpoints.extend = true;
  o.selection.patience = 0;
  const TrainResult whole = RunMeasured();
  EXPECT_EQ(whole.step, 12);
  EXPECT_FALSE(whole.ended_early);
  EXPECT_EQ(whole.model_step, result.model_step);
  o.output = d.path() / "undisturbed";
  o.checkpoints.extend = false;
  RunMeasured();
  EXPECT_EQ(NumbersOf(12), [&] {
    o.output = d.path() / "run";
    return NumbersOf(12);
  }());
}

TEST_F(SelectionTest, AStopAtAnyUpdateChangesNothing) {
  o.selection.patience = 2;
  const TrainResult whole = RunMeasured();
  const std::string left = Left(), train = Curve("train"), eval = Curve("eval");
  const nlohmann::json best = Best();
  for (idx_t stop = 1; stop < whole.step; ++stop) {
    SCOPED_TRACE(stop);
    fs::remove_all(o.output);
    o.checkpoints.resume = false;
    idx_t step = 0;
    on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) step = event.step;
    };
    should_stop = [&] { return step >= stop; };
    EXPECT_TRUE(RunMeasured().stopped);
    should_stop = {};
    o.checkpoints.resume = true;
    const TrainResult resumed = RunMeasured();
    EXPECT_EQ(resumed.step, whole.step);
    EXPECT_EQ(resumed.model_step, whole.model_step);
    EXPECT_EQ(Left(), left);
    EXPECT_EQ(Best(), best);
    EXPECT_EQ(Curve("train"), train);
    EXPECT_EQ(Curve("eval"), eval);
  }
}

TEST_F(SelectionTest, AResumedRunGoesOnFromTheLastCheckpointNotFromTheBestModel) {
  o.steps = 20;
  RunMeasured();
  const std::string last = NumbersOf(20), left = Left();
  o.output = d.path() / "extended";
  o.steps = 12;
  RunMeasured();
  o.steps = 20;
  o.checkpoints.extend = true;
  RunMeasured();
  EXPECT_EQ(NumbersOf(20), last);
  EXPECT_EQ(Left(), left);
}

TEST_F(SelectionTest, ABestModelThatCannotBeSavedIsNotTheBest) {
  const idx_t best = RunMeasured().model_step;
  fs::remove_all(o.output);
  idx_t step = 0;
  on_event = [&](const TrainEvent& event) {
    if (event.kind == TrainEvent::Kind::kStep) step = event.step;
  };
  const TrainResult result = RunMeasured([&](Parabola& task) {
    task.on_save = [&] { Check(step != best, ErrorCode::kIo, "the disk is full"); };
  });
  EXPECT_NE(result.model_step, best);
  EXPECT_NE(notes.find("the disk is full"), std::string::npos) << notes;
  EXPECT_EQ(Best()["step"], result.model_step);
  EXPECT_EQ(Left(), NumbersOf(result.model_step));
}

TEST_F(SelectionTest, ADamagedBestCheckpointLeavesTheLastModel) {
  const idx_t best = RunMeasured().model_step;
  const fs::path file = o.output / fmt::format("checkpoint-{}", best) / "model.safetensors";
  std::ofstream(file, std::ios::app) << "x";
  o.checkpoints.resume = true;
  const TrainResult result = RunMeasured();
  EXPECT_EQ(result.model_step, 12);
  EXPECT_EQ(Left(), NumbersOf(12));
  EXPECT_NE(notes.find("the last model is kept in place of the best one"), std::string::npos);
  fs::remove_all(file.parent_path());
  o.checkpoints.resume = false;
  o.checkpoints.extend = true;
  o.steps = 14;
  EXPECT_EQ(RunMeasured().model_step, 14);  // the only one that was looked at since
  EXPECT_NE(notes.find("is not there any more"), std::string::npos) << notes;
}

TEST_F(SelectionTest, ValuesThatAreNotFiniteAreNeverTheBestAndNoPatienceEndsForThem) {
  EXPECT_TRUE(HasNoValue(0.5, static_cast<double>(kNan)));
  EXPECT_FALSE(HasNoValue(0.5, 0.5));
  EXPECT_FALSE(HasNoValue(static_cast<double>(kNan), static_cast<double>(kNan)));  // it diverged
  o.selection.patience = 3;
  const auto blind = [](double) {
    return std::vector<TrainMetric>{{"accuracy", static_cast<double>(kNan)}};
  };
  const TrainResult result = Run([&](Parabola& task) { task.measure = blind; });
  EXPECT_FALSE(result.ended_early);
  EXPECT_EQ(result.step, 12);
  EXPECT_EQ(result.model_step, 12);
  EXPECT_FALSE(fs::exists(o.output / "best.json"));
  EXPECT_NE(notes.find("no evaluation had a finite accuracy"), std::string::npos) << notes;
  const std::string told = "step 2: accuracy has no value for these held-out texts";
  const std::size_t found = notes.find(told);
  ASSERT_NE(found, std::string::npos) << notes;
  EXPECT_EQ(notes.find("accuracy has no value", found + told.size()), std::string::npos) << notes;
}

TEST_F(SelectionTest, AnotherMetricIsAnotherRun) {
  RunMeasured();
  o.checkpoints.resume = true;
  o.selection.metric = "loss";
  EXPECT_TRUE(Throws([&] { RunMeasured(); }, ErrorCode::kUsage,
                     "with --metric accuracy, this command goes on with --metric loss"));
  o.selection.metric = "recall";  // which no entry point has checked
  o.output = d.path() / "other";
  o.checkpoints.resume = false;
  EXPECT_TRUE(Throws([&] { RunMeasured(); }, ErrorCode::kUsage, "'recall' is unknown"));
}

}  // namespace
}  // namespace longspan
