// Trials of short steps: alone, and beside other threads that stand for other ranks of the machine.
#include "train/step_trial.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "families/reformer/family.h"
#include "longspan/plan.h"
#include "model/model_config.h"
#include "tests/support/files.h"
#include "train/training_test.h"

namespace longspan {
namespace {

using test::Throws;

// A trial of a small Reformer whose models are counted, with the threads that make them.
struct CountedTrial {
  std::mutex mutex;
  int made = 0;
  std::set<std::thread::id> threads;
  bool others_fail = false;

  TrialModel Model() {
    ReformerConfig config = ReformerPreset("tiny");
    config.vocab_size = 50;
    std::unique_ptr<ModelConfig> small = MakeModelConfig(std::move(config));
    ModelSizes sizes;
    sizes.width = 16;
    sizes.heads = 2;
    small->Resize(sizes);
    const std::shared_ptr<const ModelConfig> shared = std::move(small);
    TrialModel trial = TrialOf(1, shared, {});
    const auto main = std::this_thread::get_id();
    const auto make = trial.make;
    trial.make = [=, this](Context& context, idx_t sets, idx_t rows, idx_t tokens) {
      const auto own = std::this_thread::get_id();
      Check(!others_fail || own == main, ErrorCode::kLimit, "no memory");
      {
        const std::lock_guard lock(mutex);
        ++made;
        threads.insert(own);
      }
      return make(context, sets, rows, tokens);
    };
    return trial;
  }
};

constexpr std::size_t kRoom = std::size_t{1} << 32;

TEST(StepTrial, OtherRanksComputeTheSameInThreadsOfTheirOwn) {
  Context context(1);
  for (const int others : {0, 2}) {
    CountedTrial counted;
    const StepTrial trial(context, counted.Model(), 1, 64, 0.0, kRoom, others);
    EXPECT_TRUE(trial.ran());
    EXPECT_EQ(counted.made, 2 + others) << "of one set of layers and of two, which others have";
    EXPECT_GE(std::ssize(counted.threads), others > 0 ? 2 : 1);
  }
}

TEST(StepTrial, ARankWithoutMemoryEndsTheTrial) {
  Context context(1);
  CountedTrial counted;
  counted.others_fail = true;
  const TrialModel model = counted.Model();
  EXPECT_TRUE(Throws([&] { StepTrial(context, model, 1, 64, 0.0, kRoom, 2); }, ErrorCode::kLimit,
                     "no memory"));
  // What is known before is no error: nothing is timed.
  const std::size_t one = model.rehearse(2, 1, 64).memory.total();
  EXPECT_FALSE(StepTrial(context, model, 1, 64, 1.0, 2 * one, 2).ran());
}

TEST(StepTrial, APlanTimesRanksOfOneMachineBesideEachOther) {
  Context context(1);
  const test::TempDir folder;
  SaveLetterLongformer(LetterLongformer(5), folder.path() / "start");
  PlanOptions o;
  o.model = folder.path() / "start";
  o.tokens = 16;
  o.ranks = 2;
  o.accumulate = 4;
  o.ranks_here = 2;
  o.trial_seconds = 1e-6;
  const PlannedStep step = MakePlan(context, o).steps.at(0);
  EXPECT_TRUE(step.timed);
  EXPECT_GT(step.update.computing_s, 0.0);
  // One process is timed alone: four micro-batches and the optimizer.
  EXPECT_GT(step.update.one_process_s, step.seconds);
  o.ranks_here = 3;
  EXPECT_TRUE(Throws([&] { MakePlan(context, o); }, ErrorCode::kUsage, "need 1 to 2"));
}

}  // namespace
}  // namespace longspan
