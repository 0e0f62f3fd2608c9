// What a context lets a training and an evaluation do: how much memory, and how long.

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>

#include "longspan/evaluate.h"
#include "longspan/folders.h"
#include "longspan/tasks.h"
#include "longspan/train.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::TempDir;
using test::Throws;

class ContextLimits : public testing::Test {
 protected:
  void SetUp() override {
    InitOptions small;
    small.preset = "tiny";
    InitModel(folder_ / "start", small);
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 2000; ++i) text << "It was day " << i << ", and the sea was calm. ";
  }
  TrainOptions Options() const {
    TrainOptions options;
    options.model = folder_ / "start";
    options.output = folder_ / "run";
    options.data.train = {folder_ / "text.txt"};
    options.steps = 3;
    options.batch = 2;
    options.tokens = 256;
    return options;
  }

  TempDir folder_;
};

TEST_F(ContextLimits, TrainingFitsOrIsRefused) {
  Context context(2);
  context.LimitMemory(1'000'000);  // less than the weights alone
  EXPECT_TRUE(Throws([&] { TrainLanguageModel(context, Options()); }, ErrorCode::kLimit, "memory"));
  // The limit decides how much is recomputed, never the bits.
  context.LimitMemory(std::size_t{1} << 30);
  const TrainResult roomy = TrainLanguageModel(context, Options());
  Context free(2);
  TrainOptions again = Options();
  again.output = folder_ / "again";
  EXPECT_EQ(TrainLanguageModel(free, again).eval_loss, roomy.eval_loss);
}

TEST_F(ContextLimits, EvaluationIsRefusedBeforeItTakesMemory) {
  EvalOptions options;
  options.model = folder_ / "start";
  options.text = folder_ / "text.txt";
  options.tokens = 256;
  Context context(2);
  context.LimitMemory(10'000);
  EXPECT_TRUE(Throws([&] { EvaluateLanguageModel(context, options); }, ErrorCode::kLimit,
                     "evaluate: needs"));
  context.LimitMemory(std::size_t{1} << 30);
  EXPECT_GT(EvaluateLanguageModel(context, options).counted, 0);
}

TEST_F(ContextLimits, ACancelledTrainingKeepsItsLastCheckpoint) {
  std::atomic<bool> wish = false;
  Context context(2);
  context.CancelWhen(&wish);
  TrainOptions options = Options();
  options.steps = 100;
  options.checkpoints.save_every = 2;
  TrainHooks hooks;
  hooks.on_event = [&](const TrainEvent& event) {
    if (event.kind == TrainEvent::Kind::kStep && event.step == 3) wish = true;
  };
  EXPECT_TRUE(Throws([&] { TrainLanguageModel(context, options, hooks); }, ErrorCode::kCancelled,
                     "cancelled"));
  wish = false;
  options.checkpoints.resume = true;
  options.steps = 100;
  idx_t first = 0;
  hooks.on_event = [&](const TrainEvent& event) {
    if (event.kind == TrainEvent::Kind::kStep && first == 0) first = event.step;
  };
  hooks.should_stop = [&] { return first > 0; };
  EXPECT_TRUE(TrainLanguageModel(context, options, hooks).resumed);
  EXPECT_EQ(first, 3);  // the update that follows the checkpoint of update 2
}

}  // namespace
}  // namespace longspan
