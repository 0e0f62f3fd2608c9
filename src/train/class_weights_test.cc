// Weights of classes: how they are written, what they become, and what a training makes of them.
#include "train/class_weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "longspan/evaluate.h"
#include "longspan/folders.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

using Weights = std::map<std::string, double>;

TEST(ClassWeightsTest, AreReadFromText) {
  EXPECT_TRUE(ClassWeights::Parse("balanced").balanced);
  EXPECT_TRUE(ClassWeights::Parse("").of.empty());
  EXPECT_EQ(ClassWeights::Parse("a=2,b c=0.5,x=y=3").of,
            (Weights{{"a", 2.0}, {"b c", 0.5}, {"x=y", 3.0}}));
  EXPECT_EQ(ClassWeights::Parse("{\"has, a\": 2, \"b\": 0.5}").of,
            (Weights{{"has, a", 2.0}, {"b", 0.5}}));
  const std::pair<const char*, const char*> bad[] = {
      {"a", "'a' is no NAME=WEIGHT"},  {"a=", "is no NAME=WEIGHT"}, {"=1", "is no NAME=WEIGHT"},
      {"a=1,", "is no NAME=WEIGHT"},   {"a=1x", "is no NAME"},      {"a=0", "not above 0"},
      {"a=-1", "not above 0"},         {"a=nan", "not above 0"},    {"a=1,a=2", "named twice"},
      {"{\"a\": \"b\"}", "no number"}, {"{\"a\"", "class-weights"}};
  for (const auto& [text, says] : bad) {
    EXPECT_TRUE(test::Throws([&] { ClassWeights::Parse(text); }, ErrorCode::kUsage, says)) << text;
  }
}

TEST(ClassWeightsTest, BecomeOneForEachLabel) {
  const std::vector<std::int32_t> classes = {0, 0, kIgnoreLabel, 0, 1};
  const auto resolve = [&](const char* text) {
    return ResolveClassWeights(ClassWeights::Parse(text), {"a", "b", "c"}, CountsOf(classes, 3));
  };
  EXPECT_EQ(resolve(""), std::vector<float>());
  EXPECT_EQ(resolve("b=4"), (std::vector<float>{1, 4, 1}));
  // Four rows, of two classes that occur: each has the weight 2 in all.
  EXPECT_EQ(resolve("balanced"), (std::vector<float>{4.0f / 6.0f, 2, 1}));
  EXPECT_TRUE(test::Throws([&] { resolve("d=1"); }, ErrorCode::kUsage,
                           "'d' is none of the 3 labels: a, b, c"));
}

TEST(ClassWeightsTest, AreForOneClassOfSeveral) {
  ClassifyOptions task;
  EXPECT_NO_THROW(CheckClassLoss(task, ProblemType::kMultiLabel));
  task.label_smoothing = 0.1;
  EXPECT_NO_THROW(CheckClassLoss(task, ProblemType::kInferred));
  EXPECT_TRUE(test::Throws([&] { CheckClassLoss(task, ProblemType::kMultiLabel); },
                           ErrorCode::kUsage, "label-smoothing: is for one class of several"));
  task.weights.balanced = true;
  EXPECT_TRUE(test::Throws([&] { CheckClassLoss(task, ProblemType::kRegression); },
                           ErrorCode::kUsage, "class-weights: is for one class of several"));
  task.label_smoothing = 1.0;
  EXPECT_TRUE(test::Throws([&] { CheckClassLoss(task, ProblemType::kSingleLabel); },
                           ErrorCode::kUsage, "label-smoothing: 1 is not"));
}

// The first update's loss is that of the probabilities that the model has before it, and an
// evaluation's stays the plain one.
TEST(ClassWeightsTest, AreInTheLossOfATrainingAndNotOfAnEvaluation) {
  const test::TempDir d;
  std::ofstream(d / "rows.csv") << "text,label\nShe smiled.,good\nHe wept.,bad\nA bad day.,bad\n"
                                   "The bad end.,bad\nAll is lost.,bad\n";
  InitOptions init;
  init.family = "longformer";
  init.preset = "tiny";
  init.tokenizer = test::kRoot / "tests" / "tokenizers" / "roberta";
  InitModel(d / "start", init);
  TrainOptions o = FineTuneOptions();
  o.model = d / "start";
  o.data.train = {d / "rows.csv"};
  o.data.eval = d / "rows.csv";
  o.output = d / "run";
  o.steps = 1;
  o.batch = 2;
  o.accumulate = 3;
  o.tokens = 16;
  o.optimizer.learning_rate = 0.0;
  o.compute.dropout = 0.0;
  o.checkpoints.log_every = 1;
  ClassifyOptions task;
  task.epochs = 0.0;
  task.weights = ClassWeights::Parse("good=5,bad=0.5");
  task.label_smoothing = 0.2;
  Context context(2);
  const TrainResult result = TrainClassifier(context, o, task);
  ClassifierEvalOptions eval;
  eval.model = o.output;
  eval.file = d / "rows.csv";
  eval.tokens = 16;
  Predictions predictions;
  const ClassifierEval found = EvaluateClassifier(context, eval, &predictions);
  const std::vector<double> weights = {0.5, 5.0};  // of bad and good
  double sum = 0.0, plain = 0.0, weight = 0.0;
  for (const Prediction& p : predictions.rows) {
    const auto gold = static_cast<std::size_t>(p.gold.front());
    plain -= std::log(p.scores[gold]);
    sum -= 0.8 * weights[gold] * std::log(p.scores[gold]);
    for (std::size_t k = 0; k < 2; ++k) sum -= 0.1 * weights[k] * std::log(p.scores[k]);
    weight += weights[gold];
  }
  EXPECT_NEAR(found.loss, plain / 5.0, 1e-9);
  EXPECT_EQ(result.eval_loss, found.loss);
  std::ifstream log(d / "run" / "metrics.jsonl");
  std::string line;
  std::getline(log, line);
  EXPECT_NEAR(nlohmann::json::parse(line)["loss"].get<double>(), sum / weight, 1e-6);
  // They decide the bits: a resumed run has the same ones.
  o.checkpoints.resume = true;
  EXPECT_EQ(TrainClassifier(context, o, task).step, 1);
  task.weights = ClassWeights::Parse("good=4,bad=0.5");
  EXPECT_TRUE(test::Throws([&] { TrainClassifier(context, o, task); }, ErrorCode::kUsage,
                           "started with --class-weights bad=0.5,good=5, this command goes on with "
                           "--class-weights bad=0.5,good=4"));
}

}  // namespace
}  // namespace longspan
