// Classifiers that learn from the mean of the scores of a text's windows: what a step does, beside
// evaluations, beside plain loops, and beside a training from each window.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "families/families.h"
#include "longspan/model.h"
#include "model/load_options.h"
#include "tasks/scores.h"
#include "train/classify_task.h"
#include "train/stop_after_test.h"
#include "train/training_test.h"
#include "train/window_mean_ref.h"

namespace longspan {
namespace {

using test::GetFile;
using test::PutFile;
using test::Throws;
using Json = nlohmann::json;

constexpr idx_t kRow = 8;  // tokens: [CLS], six words, [SEP]

std::string LettersFromB(Rng* rng, idx_t words) {
  std::string text;
  for (idx_t w = 0; w < words; ++w) {
    text += static_cast<char>('b' + rng->Below(9));
    text += ' ';
  }
  return text;
}

class WindowMeanTraining : public testing::Test {
 protected:
  WindowMeanTraining() {
    LongformerConfig c = LetterLongformer(10);
    c.sep_token = 3;
    SaveLetterLongformer(c, d_ / "start");
  }

  // Texts of one to four windows; or all of one.
  std::filesystem::path Texts(ProblemType problem, bool short_ones = false) {
    Rng rng(5);
    std::string lines;
    for (idx_t n = 0; n < 12; ++n) {
      Json row = {{"text", LettersFromB(&rng, short_ones ? 1 + rng.Below(6) : 3 + rng.Below(20))}};
      row["label"] = n % 3 == 0 ? "even" : "odd";
      if (problem == ProblemType::kMultiLabel) {
        row["label"] = n % 4 == 0 ? Json::array({"even", "odd"}) : Json::array({"odd"});
      }
      if (problem == ProblemType::kRegression) row["label"] = 0.25 * static_cast<double>(n);
      lines += row.dump() + "\n";
    }
    return PutFile(d_ / "rows.jsonl", lines);
  }

  TrainOptions Options(const std::string& run, const std::filesystem::path& rows) const {
    TrainOptions o = FineTuneOptions();
    o.model = d_ / "start";
    o.output = d_ / run;
    o.data.train = {rows};
    o.data.eval = rows;
    o.tokens = kRow;
    o.steps = 4;
    o.batch = 3;
    o.accumulate = 2;
    o.optimizer.learning_rate = 3e-3;
    o.checkpoints.eval_every = o.checkpoints.save_every = 2;
    return o;
  }
  static ClassifyOptions Task(ProblemType problem, WindowLoss loss = WindowLoss::kMean) {
    ClassifyOptions task;
    task.problem = problem;
    task.epochs = 0.0;
    task.overflow = text::Overflow::kWindow;
    task.window_loss = loss;
    return task;
  }

  static TrainResult Train(const TrainOptions& o, const ClassifyOptions& task, int threads = 2,
                           idx_t stop_after = 0) {
    Context context(threads);
    return TrainClassifier(context, o, task, StopAfter(stop_after));
  }
  ClassifierEval Evaluated(const std::string& run, const std::filesystem::path& rows) const {
    ClassifierEvalOptions o;
    o.model = d_ / run;
    o.file = rows;
    Context context(1);
    return EvaluateClassifier(context, o);
  }
  std::string Weights(const std::string& run) const {
    return GetFile(d_ / run / "model.safetensors");
  }
  std::string Lines(const std::string& run) const {
    std::ifstream in(d_ / run / "metrics.jsonl");
    std::string lines;
    for (std::string line; std::getline(in, line);) {
      const Json j = Json::parse(line);
      lines += Json{{"step", j["step"]}, {"loss", j["loss"]}}.dump() + "\n";
    }
    return lines;
  }

  test::TempDir d_;
};

// Batches, dropout, losses and weights.
TEST_F(WindowMeanTraining, TextsOfOneRowAreLearnedAsWithoutIt) {
  for (const ProblemType problem : {ProblemType::kSingleLabel, ProblemType::kRegression}) {
    TrainOptions o = Options("each", Texts(problem, true));
    o.checkpoints.overwrite = true;
    ClassifyOptions task = Task(problem, WindowLoss::kEach);
    if (problem == ProblemType::kSingleLabel) task.label_smoothing = 0.1;
    task.weights.balanced = problem == ProblemType::kSingleLabel;
    Train(o, task);
    o.output = d_ / "mean";
    task.window_loss = WindowLoss::kMean;
    Train(o, task);
    EXPECT_EQ(Lines("each"), Lines("mean"));
    EXPECT_TRUE(Weights("each") == Weights("mean"));
  }
}

TEST_F(WindowMeanTraining, TheSameBitsForAnyThreadsAndInterruptions) {
  const ProblemType problem = ProblemType::kSingleLabel;
  TrainOptions o = Options("one", Texts(problem));
  o.compute.dropout = 0.1;
  Train(o, Task(problem), 1);
  o.output = d_ / "three";
  Train(o, Task(problem), 3);
  EXPECT_EQ(Lines("one"), Lines("three"));
  EXPECT_TRUE(Weights("one") == Weights("three"));
  o.output = d_ / "stopped";
  EXPECT_TRUE(Train(o, Task(problem), 2, 3).stopped);
  o.checkpoints.resume = true;
  EXPECT_TRUE(Throws([&] { Train(o, Task(problem, WindowLoss::kEach)); }, ErrorCode::kUsage,
                     "--window-loss"));
  Train(o, Task(problem), 2);
  EXPECT_EQ(Lines("one"), Lines("stopped"));
  EXPECT_TRUE(Weights("one") == Weights("stopped"));
}

// The gradient of a text's loss for its logits, by differences of the reference in double.
std::vector<float> SlopesOf(ProblemType problem, std::vector<std::vector<double>> logits,
                            const std::vector<double>& shares, const std::vector<double>& targets) {
  constexpr double kStep = 1e-5;
  std::vector<float> slopes;
  for (std::size_t w = 0; w < logits.size(); ++w) {
    for (double& logit : logits[w]) {
      const double at = logit;
      const auto loss = [&](double x) {
        logit = x;
        return ref::LossOfWindowMean(problem, logits, shares, targets);
      };
      const double difference = loss(at + kStep) - loss(at - kStep);
      logit = at;
      slopes.push_back(static_cast<float>(difference / (2.0 * kStep)));
    }
  }
  return slopes;
}

// An update of plain SGD on all texts, beside one that takes each window by itself, in order, and
// the gradient of the reference.
TEST_F(WindowMeanTraining, AStepIsThatOfPlainLoops) {
  constexpr double kRate = 0.05;
  for (const ProblemType problem :
       {ProblemType::kSingleLabel, ProblemType::kMultiLabel, ProblemType::kRegression}) {
    SCOPED_TRACE(ProblemName(problem));
    const auto rows = Texts(problem);
    TrainOptions o = Options("zero", rows);
    o.optimizer.kind = OptimizerKind::kSgd;
    o.optimizer.momentum = 0.0;
    o.optimizer.nesterov = false;
    o.optimizer.weight_decay = 0.0;
    o.optimizer.clip = 0.0;
    o.schedule.kind = ScheduleKind::kConstant;
    o.schedule.warmup = 0;
    o.compute.dropout = 0.0;
    o.checkpoints.overwrite = true;
    o.selection.kept = KeptModel::kLast;
    o.batch = 2;  // texts have up to four windows
    o.accumulate = 6;
    o.steps = 1;
    o.optimizer.learning_rate = 1e-30;  // the trained head's first weights
    Train(o, Task(problem));
    o.optimizer.learning_rate = kRate;
    o.output = d_ / "one";
    Train(o, Task(problem));

    Context context(1);
    LoadOptions load;
    load.dropout = 0.0;
    const auto model = LoadTextModel(d_ / "zero", load);
    const auto trained = LoadTextModel(d_ / "one", load);
    const TextModelInfo& info = model->info();
    const auto tokenizer = OpenModelTokenizer(d_ / "zero");
    const GlobalPolicy global = ResolveGlobal(info, GlobalPolicy(GlobalRule(), tokenizer.get()));
    const ClassifyTarget target{info.labels, problem};
    ClassifyLimits limits;
    limits.tokens = kRow;
    limits.overflow = text::Overflow::kWindow;
    const ClassifyRows data = TokenizeRows(
        context, *tokenizer, ReadLabelledTexts({rows}, {}, problem), target, info, limits);
    model->parameters().AllocateGradients();
    const auto labels = static_cast<std::size_t>(info.label_count());
    const auto batch_of = [&](idx_t row) {
      Batch batch = GatherRows(data, std::span(&row, 1), info);
      global.Mark(info, &batch);
      return batch;
    };
    idx_t most = 0;
    for (idx_t text = 0; text < data.texts(); ++text) {
      const auto t = static_cast<std::size_t>(text);
      std::vector<double> targets(labels, 0.0);
      if (problem == ProblemType::kSingleLabel) {
        targets[static_cast<std::size_t>(data.labels[t])] = 1.0;
      } else {
        targets.assign(data.values.begin() + static_cast<idx_t>(t * labels),
                       data.values.begin() + static_cast<idx_t>((t + 1) * labels));
      }
      std::vector<std::vector<double>> logits;
      for (idx_t row = data.first[t]; row < data.first[t + 1]; ++row) {
        const Tensor own = model->LogitsOfTexts(context, batch_of(row).view());
        logits.emplace_back(own.data<float>(), own.data<float>() + own.size());
      }
      most = std::max(most, std::ssize(logits));
      const std::vector<float> slopes = SlopesOf(problem, logits, data.SharesOf(text), targets);
      for (std::size_t w = 0; w < logits.size(); ++w) {
        Batch batch = batch_of(data.first[t] + static_cast<idx_t>(w));
        const auto own = std::span(slopes).subspan(w * labels, labels);
        batch.dlogits.assign(own.begin(), own.end());
        model->LossAndGradients(context, batch.view(), 1.0f, {true, 0});
      }
    }
    EXPECT_EQ(most, 4);
    const double counted =
        12.0 * (problem == ProblemType::kSingleLabel ? 1.0 : static_cast<double>(labels));
    const View<float, 1> gradients = model->parameters().gradients();
    double largest = 0.0;
    const View<const float, 1> before = model->parameters().values();
    const View<const float, 1> after = trained->parameters().values();
    for (idx_t i = 0; i < gradients.size(); ++i) {
      const double update = kRate * static_cast<double>(gradients.data[i]) / counted;
      const double moved = static_cast<double>(before.data[i]) - static_cast<double>(after.data[i]);
      largest = std::max(largest, std::abs(update));
      ASSERT_NEAR(moved, update, 2e-7) << i;
    }
    EXPECT_GT(largest, 1e-3);
  }
}

// The value of a text is 1 where one of its four windows has the words "a". A window of other words
// says nothing of its text, so what is learned from each window lies near the mean of all values.
// A mean over windows tells the texts apart: 4 for the window of "a", else 0.
TEST_F(WindowMeanTraining, LearnsWhatOneWindowOfManySays) {
  Rng rng(7);
  const auto file = [&](const char* name) {
    std::string lines;
    for (idx_t n = 0; n < 48; ++n) {
      std::string text = LettersFromB(&rng, 24);
      const auto window = static_cast<std::size_t>(12 * rng.Below(4));
      for (std::size_t w = 0; n % 2 == 1 && w < 6; ++w) text[window + 2 * w] = 'a';
      lines += Json{{"text", text}, {"label", n % 2}}.dump() + "\n";
    }
    return PutFile(d_ / name, lines);
  };
  const auto rows = file("rows.jsonl"), others = file("others.jsonl");
  double losses[2] = {};
  for (const WindowLoss loss : {WindowLoss::kEach, WindowLoss::kMean}) {
    const std::string run(WindowLossName(loss));
    TrainOptions o = Options(run, rows);
    const bool mean = loss == WindowLoss::kMean;
    o.batch = mean ? 8 : 32;  // as many windows
    o.steps = 60;
    o.data.eval = others;
    o.checkpoints.eval_every = o.checkpoints.save_every = 0;
    o.optimizer.learning_rate = 1e-2;
    o.compute.dropout = 0.0;
    o.accumulate = 1;
    const TrainResult result = Train(o, Task(ProblemType::kRegression, loss));
    const ClassifierEval e = Evaluated(run, others);
    EXPECT_EQ(e.windows, 4 * 48);
    EXPECT_EQ(e.loss, result.eval_loss);
    losses[mean ? 1 : 0] = e.loss;
  }
  constexpr double kBetween = 0.12;  // of 0.18, where each window has learned its best, and 0
  EXPECT_GT(losses[0], kBetween);
  EXPECT_LT(losses[1], kBetween);
}

TEST_F(WindowMeanTraining, AMeanNeedsWindows) {
  const TrainOptions o = Options("run", Texts(ProblemType::kSingleLabel));
  ClassifyOptions task = Task(ProblemType::kSingleLabel);
  for (const auto overflow : {text::Overflow::kError, text::Overflow::kTruncate}) {
    task.overflow = overflow;
    EXPECT_TRUE(Throws([&] { Train(o, task); }, ErrorCode::kUsage, "add --overflow window"));
  }
}

}  // namespace
}  // namespace longspan
