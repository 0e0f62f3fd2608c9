// Trainings whose rows several ranks share: sums of gradients in the order that the group decides,
// the run of one rank but for rounding, and what is refused. The ranks are threads.
#include <cmath>

#include "longspan/head_training.h"
#include "longspan/plan.h"
#include "tests/support/thread_world.h"
#include "train/gradient_sum.h"
#include "train/trainer_test.h"
#include "train/training_test.h"

namespace longspan {
namespace {

using test::GetFile;
using test::OnRanks;
using test::PutFile;
using test::TryOnRanks;

// Leaf m of rank j is leaves[m] * (j + 1): the sum over a group's ranks of a tree each.
TEST(RowRanksSum, TreesOfTheRanksOfAGroupAreAddedInTheirOrder) {
  const std::vector<float> leaves = {1.0f, 0x1p-24f, -1.0f, 3e7f, 1.5f, -3e7f};
  constexpr int kShared = 2;
  const auto leaf = [&](idx_t micro, int j) {
    return leaves[static_cast<std::size_t>(micro)] / static_cast<float>(j + 3);
  };
  const auto tree = [&](int j) {
    return ((leaf(0, j) + leaf(1, j)) + (leaf(2, j) + leaf(3, j))) + (leaf(4, j) + leaf(5, j));
  };
  const float expected = tree(0) + tree(1);
  for (const int ranks : {2, 4, 6}) {
    OnRanks(ranks, [&](World& world) {
      Context context(1);
      ParameterTable table;
      table.Add("numbers", {40}, ParameterKind::kBias);
      table.Allocate();
      table.AllocateGradients();
      const auto shares = test::SharesFor(table, ranks);
      GradientSum sum(&world, std::ssize(leaves), table, shares, kShared);
      EXPECT_EQ(sum.share().size(), std::ssize(leaves) / (ranks / kShared));
      for (int update = 0; update < 2; ++update) {
        std::fill_n(table.gradients().data, table.extent(), 0.0f);
        for (idx_t micro = sum.share().begin; micro < sum.share().end; ++micro) {
          std::fill_n(table.gradients().data, table.extent(), leaf(micro, world.rank() % kShared));
          sum.Add(context, table, micro);
        }
        sum.Finish(context, table);
        const float own = shares->sums()[0].owner == world.rank() ? expected : 0.0f;
        for (idx_t i = 0; i < table.extent(); ++i) ASSERT_EQ(table.gradients().data[i], own);
      }
    });
  }
}

// A Longformer of letters, and rows of four tasks.
class RowRanks : public ::testing::Test {
 protected:
  RowRanks() {
    LongformerConfig c = LetterLongformer(10);
    c.sep_token = 3;
    SaveLetterLongformer(c, d_ / "start");
    WriteLetters(d_ / "mlm");
    std::string classes, answers, pairs;
    Rng rng(3);
    for (int row = 0; row < 12; ++row) {
      std::string words(1, static_cast<char>('a' + rng.Below(10)));
      const std::string first = words;
      for (idx_t i = 2 + rng.Below(9); i > 0; --i) {
        words += std::string(" ") + static_cast<char>('a' + rng.Below(10));
      }
      classes += nlohmann::json{{"text", words}, {"label", row % 2 == 0 ? "even" : "odd"}}.dump();
      answers += nlohmann::json{{"question", "a b"},
                                {"context", words},
                                {"answers", {{{"text", first}, {"answer_start", 0}}}}}
                     .dump();
      pairs += nlohmann::json{{"anchor", "a " + first}, {"positive", words}}.dump();
      for (std::string* lines : {&classes, &answers, &pairs}) *lines += "\n";
    }
    PutFile(d_ / "classify.jsonl", classes);
    PutFile(d_ / "qa.jsonl", answers);
    PutFile(d_ / "embed.jsonl", pairs);
  }

  TrainOptions Options(const std::string& task, const std::string& run, int row_ranks) const {
    TrainOptions o = task == "mlm" ? TrainOptions() : FineTuneOptions();
    o.model = d_ / "start";
    o.data.train = {d_ / (task == "mlm" ? task : task + ".jsonl")};
    if (task != "mlm") o.data.eval = o.data.train[0];
    o.output = d_ / run;
    o.steps = 4;
    o.batch = 1;
    o.accumulate = 2;
    o.tokens = 23;
    o.row_ranks = row_ranks;
    o.optimizer.learning_rate = 3e-3;
    o.compute.dropout = 0.1;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = o.checkpoints.save_every = 2;
    return o;
  }

  static TrainResult Train(const std::string& task, Context& context, const TrainOptions& o,
                           const TrainHooks& hooks) {
    if (task == "mlm") return TrainMaskedLm(context, o, MaskedLmOptions(), hooks);
    if (task == "classify") {
      ClassifyOptions classify;
      classify.epochs = 0.0;
      return TrainClassifier(context, o, classify, hooks);
    }
    if (task == "embed") {
      EmbedTrainingOptions embed;
      embed.epochs = 0.0;
      embed.negatives_batch = 4;
      return TrainEmbedder(context, o, embed, hooks);
    }
    AnswerTaskOptions qa;
    qa.epochs = 0.0;
    return TrainQuestionAnswering(context, o, qa, hooks);
  }

  // `stop_after`: the last rank wants to stop there; 0: none does.
  TrainResult TrainOn(int ranks, const std::string& task, const TrainOptions& o,
                      idx_t stop_after = 0) {
    TrainResult first;
    OnRanks(ranks, [&](World& world) {
      Context context(1 + world.rank() % 2);
      context.Join(&world);
      idx_t step = 0;
      TrainHooks hooks;
      hooks.on_event = [&](const TrainEvent& event) {
        if (event.kind == TrainEvent::Kind::kStep) step = event.step;
        if (event.kind == TrainEvent::Kind::kNote) notes_ += event.text + "\n";
      };
      hooks.should_stop = [&] {
        return stop_after > 0 && step >= stop_after && world.rank() == world.size() - 1;
      };
      const TrainResult result = Train(task, context, o, hooks);
      EXPECT_EQ(context.row_group(), nullptr);
      if (world.is_first()) first = result;
    });
    return first;
  }

  // Of every line: of updates and of evaluations.
  std::vector<double> Losses(const std::string& run) const {
    std::ifstream in(d_ / run / "metrics.jsonl");
    std::vector<double> losses;
    for (std::string line; std::getline(in, line);) {
      const auto j = nlohmann::json::parse(line);
      losses.push_back(j["loss"].get<double>());
    }
    return losses;
  }
  // A rank finds the mistake itself, or hears of it from another one before.
  static bool Tells(const std::exception_ptr& error, std::string_view fragment) {
    const auto thrown = [&] {
      if (error) std::rethrow_exception(error);
    };
    return bool{Throws(thrown, ErrorCode::kUsage, fragment)} ||
           bool{Throws(thrown, ErrorCode::kPeer, fragment)};
  }

  std::string Weights(const std::string& run) const {
    return GetFile(d_ / run / "model.safetensors");
  }

  TempDir d_;
  std::string notes_;  // of rank 0
};

class RowRanksTasks : public RowRanks, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Tasks, RowRanksTasks, ::testing::Values("mlm", "classify", "qa", "embed"));

// Losses and evaluations are those of one process but for rounding, which a few updates have not
// made larger; all numbers of groups have the same bits.
TEST_P(RowRanksTasks, RunsAreThoseOfOneProcess) {
  const std::string task = GetParam();
  TrainOn(1, task, Options(task, "one", 1));
  TrainOn(2, task, Options(task, "two", 2));
  TrainOn(4, task, Options(task, "four", 2));
  const std::vector<double> one = Losses("one"), two = Losses("two");
  ASSERT_EQ(one.size(), two.size());
  ASSERT_EQ(one.size(), 6u) << "four updates and two evaluations";
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_NEAR(two[i], one[i], 1e-4 * (1.0 + std::abs(one[i]))) << i;
  }
  EXPECT_EQ(Losses("four"), two);
  EXPECT_TRUE(Weights("four") == Weights("two"));
  EXPECT_FALSE(Weights("two") == Weights("one")) << "were rows shared at all?";
  EXPECT_NE(notes_.find("each row is shared by 2 neighbouring ranks: 2 groups"), std::string::npos)
      << notes_;
}

TEST_F(RowRanks, AStoppedRunGoesOnToTheSameBitsOrWithOtherRanksForARow) {
  TrainOn(2, "mlm", Options("mlm", "whole", 2));
  TrainOptions o = Options("mlm", "run", 2);
  TrainOn(4, "mlm", o, 1);
  o.checkpoints.resume = true;
  EXPECT_TRUE(TrainOn(2, "mlm", o).resumed);
  EXPECT_EQ(Losses("run"), Losses("whole"));
  EXPECT_TRUE(Weights("run") == Weights("whole"));
  TrainOptions other = Options("mlm", "other", 2);
  TrainOn(2, "mlm", other, 1);
  other.checkpoints.resume = true;
  other.row_ranks = 1;
  EXPECT_TRUE(TrainOn(1, "mlm", other).resumed);
  EXPECT_NE(notes_.find("each row had 2 ranks so far and has 1 from now on"), std::string::npos);
  const std::vector<double> whole = Losses("whole"), mixed = Losses("other");
  ASSERT_EQ(mixed.size(), whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NEAR(mixed[i], whole[i], 1e-4 * (1.0 + std::abs(whole[i])));
  }
}

// Ranks of one row have other budgets, and take the same steps all the same.
TEST_F(RowRanks, RanksWithOtherBudgetsRecomputeTheSameLayers) {
  TrainOn(2, "mlm", Options("mlm", "free", 2));
  OnRanks(2, [&](World& world) {
    Context context(1);
    context.Join(&world);
    TrainOptions o = Options("mlm", "tight", 2);
    if (world.rank() == 1) o.compute.recompute = true;
    Train("mlm", context, o, {});
  });
  EXPECT_EQ(Losses("tight"), Losses("free"));
}

TEST_F(RowRanks, WhatCannotShareRowsIsRefusedAtTheStart) {
  const auto refused = [&](int ranks, const TrainOptions& o, const char* fragment) {
    const auto thrown = TryOnRanks(ranks, [&](World& world) {
      Context context(1);
      context.Join(&world);
      world.Barrier();
      Train("mlm", context, o, {});
    });
    for (const std::exception_ptr& error : thrown) EXPECT_TRUE(Tells(error, fragment));
    EXPECT_FALSE(fs::exists(o.output));
  };
  refused(3, Options("mlm", "never", 2), "row-ranks: 2 does not divide the number of ranks, 3");
  refused(1, Options("mlm", "never", 2), "row-ranks: 2 does not divide the number of ranks, 1");
  refused(4, Options("mlm", "never", 4), "row-ranks: 4 ranks share the 2 heads");
  Context alone(1);
  EXPECT_TRUE(Throws([&] { Train("mlm", alone, Options("mlm", "never", 2), {}); },
                     ErrorCode::kUsage, "row-ranks: 2 does not divide the number of ranks, 1"));
}

TEST_F(RowRanks, APlanTellsWhatOneRankNeeds) {
  Context context(1);
  PlanOptions o;
  o.preset = "tiny";
  o.family = "longformer";
  o.tokens = 512;
  o.trial_seconds = 0.0;
  const PlannedStep one = MakePlan(context, o).steps.at(0);
  o.ranks = o.row_ranks = 2;
  const PlannedStep two = MakePlan(context, o).steps.at(0);
  EXPECT_LT(two.needs.memory.scratch, one.needs.memory.scratch * 6 / 10);
  EXPECT_EQ(two.needs.memory.weights, one.needs.memory.weights);
  EXPECT_NEAR(two.seconds / one.seconds, 0.5, 0.3);
  EXPECT_EQ(one.needs.row_bytes, 0u);
  EXPECT_GT(two.needs.row_bytes, 0u);
  EXPECT_LT(two.needs.memory.moments, one.needs.memory.moments * 55 / 100);
  EXPECT_LT(two.needs.memory.gradients, one.needs.memory.gradients);
  EXPECT_EQ(one.update.sent_bytes, 0.0);
  // Half of the gradients go to the other rank, and half of the weights.
  EXPECT_NEAR(two.update.sent_bytes - static_cast<double>(two.needs.row_bytes),
              static_cast<double>(one.needs.memory.gradients), 100.0);
  // Frozen parameters stay where they are. AdamW has two numbers for each of the others.
  o.trained.freeze = {"*embeddings*"};
  const PlannedStep fewer = MakePlan(context, o).steps.at(0);
  o.ranks = o.row_ranks = 1;
  const auto trained = static_cast<double>(MakePlan(context, o).steps.at(0).needs.memory.moments);
  o.ranks = o.row_ranks = 2;
  o.trained = {};
  EXPECT_NEAR(fewer.update.sent_bytes - static_cast<double>(fewer.needs.row_bytes), trained / 2.0,
              0.05 * trained);
  // A rank with several micro-batches adds them up first: it has all gradients.
  o.accumulate = 2;
  const StepMemory sums = MakePlan(context, o).steps.at(0).needs.memory;
  EXPECT_EQ(sums.gradients, one.needs.memory.gradients);
  EXPECT_GT(sums.sums, two.needs.memory.sums);
  o.ranks = 3;
  EXPECT_TRUE(Throws([&] { MakePlan(context, o); }, ErrorCode::kUsage,
                     "row-ranks: 2 does not divide the number of ranks, 3"));
}

// What travels beside attention costs time only where that is too short for it.
TEST_F(RowRanks, APlanHidesBordersOfWindows) {
  Context context(1);
  PlanOptions o;
  o.preset = "tiny";
  o.family = "modernbert";
  o.tokens = 2048;
  o.trial_seconds = 0.0;
  o.ranks = o.row_ranks = 2;
  const auto step = [&](double link) {
    o.link_bytes_per_s = link;
    return MakePlan(context, o).steps.at(0);
  };
  constexpr double kQuick = 1e15, kSlow = 1e4;  // much more, and less, than computing needs
  const PlannedStep quick = step(kQuick), slow = step(kSlow);
  const StepNeeds& needs = quick.needs;
  EXPECT_GT(needs.row_bytes_beside, 0u);
  EXPECT_LT(needs.row_bytes_beside, needs.row_bytes);  // full layers exchange heads
  EXPECT_GE(quick.update.hidden_s, static_cast<double>(needs.row_bytes_beside) / kQuick);
  const double shown_s = quick.update.exchange_s - quick.update.hidden_s;
  EXPECT_GE(shown_s, static_cast<double>(needs.row_bytes - needs.row_bytes_beside) / kQuick);
  // Rows are hidden for the time of the attention, gradients for two thirds of the rest, weights
  // for one third.
  EXPECT_NEAR(slow.update.hidden_s, slow.update.computing_s, 1e-9 * slow.update.hidden_s);
}

}  // namespace
}  // namespace longspan
