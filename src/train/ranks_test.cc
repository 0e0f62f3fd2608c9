// Trainings by several ranks: the tree of sums, the same bits for every number of ranks, what is
// agreed, and what happens when one of them is not like the others. The ranks are threads.
#include <algorithm>
#include <set>

#include "base/rng.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "families/reformer/reformer_files.h"
#include "longspan/head_training.h"
#include "tests/support/thread_world.h"
#include "train/gradient_sum.h"
#include "train/schedule.h"
#include "train/shares_test.h"
#include "train/trainer_test.h"
#include "train/training_test.h"

namespace longspan {
namespace {

using test::GetFile;
using test::OnRanks;
using test::PutFile;
using test::TryOnRanks;

// ---- the tree -----------------------------------------------------------------------------------

// By its definition.
float SumByDefinition(const std::vector<float>& leaves, std::size_t begin, std::size_t end) {
  if (end - begin == 1) return leaves[begin];
  std::size_t left = 1;
  while (2 * left < end - begin) left *= 2;
  return SumByDefinition(leaves, begin, begin + left) + SumByDefinition(leaves, begin + left, end);
}

// Magnitudes so different that every other order gives other bits.
std::vector<float> Leaves(idx_t count) {
  Rng rng(static_cast<std::uint64_t>(count));
  std::vector<float> leaves;
  for (idx_t i = 0; i < count; ++i) {
    leaves.push_back(std::ldexp(1.0f + static_cast<float>(rng.Below(1 << 20)) / (1 << 20),
                                static_cast<int>(rng.Below(12))));
  }
  return leaves;
}

// Number i of the table is leaf + i / 7, summed over the micro-batches by so many ranks: what each
// of them owns.
std::vector<float> Summed(const std::vector<float>& leaves, int ranks, idx_t numbers,
                          ParameterCut cut = ParameterCut::kAnywhere) {
  std::vector<float> all(static_cast<std::size_t>(numbers));
  OnRanks(ranks, [&](World& world) {
    Context context(1);
    ParameterTable table;
    table.Add("numbers", {numbers}, ParameterKind::kBias);
    table.Allocate();
    table.AllocateGradients();
    const auto shares = test::SharesFor(table, ranks, cut);
    GradientSum sum(&world, std::ssize(leaves), table, shares);
    for (int update = 0; update < 2; ++update) {  // the second one uses the memory of the first
      std::fill_n(table.gradients().data, table.extent(), 0.0f);
      for (idx_t micro = sum.share().begin; micro < sum.share().end; ++micro) {
        for (idx_t i = 0; i < numbers; ++i) {
          float& gradient = table.gradients().data[i];
          ASSERT_EQ(gradient, 0.0f);
          gradient = leaves[static_cast<std::size_t>(micro)] + static_cast<float>(i) / 7.0f;
        }
        sum.Add(context, table, micro);
      }
      sum.Finish(context, table);
    }
    test::TakeOwn(*shares, table, world.rank(), &all);
  });
  return all;
}

TEST(GradientSumTest, FollowsTheTreeForAnyNumberOfRanks) {
  constexpr idx_t kNumbers = 2 * ParameterShares::kUnit + 70;  // no multiple of what ranks own
  for (const idx_t micros : {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16}) {
    const std::vector<float> leaves = Leaves(micros);
    std::vector<float> expected;
    for (idx_t i = 0; i < kNumbers; ++i) {
      std::vector<float> moved = leaves;
      for (float& leaf : moved) leaf += static_cast<float>(i) / 7.0f;
      expected.push_back(SumByDefinition(moved, 0, moved.size()));
    }
    for (int ranks = 1; ranks <= std::min<idx_t>(4, micros); ++ranks) {
      EXPECT_TRUE(Summed(leaves, ranks, kNumbers) == expected)
          << micros << " micro-batches, " << ranks << " ranks";
    }
  }
}

// What `plan --link` divides by the rate. The table has no remainder in any slice.
TEST(GradientSumTest, SendsAsManyBytesAsArePredicted) {
  constexpr idx_t kNumbers = 12 * ParameterShares::kUnit;
  const std::pair<idx_t, int> cases[] = {{2, 2}, {8, 4}, {4, 3}, {5, 3}, {6, 2}, {1, 1}};
  for (const auto& [micros, ranks] : cases) {
    std::vector<std::uint64_t> sent(static_cast<std::size_t>(ranks));
    OnRanks(ranks, [&, count = micros](World& world) {
      Context context(1);
      ParameterTable table;
      table.Add("numbers", {kNumbers}, ParameterKind::kBias);
      table.Allocate();
      table.AllocateGradients();
      GradientSum sum(&world, count, table, test::SharesFor(table, world.size()));
      const std::uint64_t before = world.bytes_sent();
      for (idx_t micro = sum.share().begin; micro < sum.share().end; ++micro) {
        sum.Add(context, table, micro);
      }
      sum.Finish(context, table);
      sent[static_cast<std::size_t>(world.rank())] = world.bytes_sent() - before;
    });
    EXPECT_EQ(static_cast<double>(*std::max_element(sent.begin(), sent.end())),
              ExchangedGradients(micros, ranks) * kNumbers * sizeof(float))
        << micros << " micro-batches, " << ranks << " ranks";
  }
}

// More than what is on its way at a time, with fewer numbers in the last part.
TEST(GradientSumTest, ManyPartsGiveTheBitsOfOneRank) {
  const std::vector<float> leaves = Leaves(3);
  constexpr idx_t kNumbers = 9 * ParameterShares::kPiece + 1000;
  const std::vector<float> alone = Summed(leaves, 1, kNumbers);
  EXPECT_TRUE(Summed(leaves, 2, kNumbers) == alone);
  EXPECT_TRUE(Summed(leaves, 3, kNumbers, ParameterCut::kWhole) == alone);
}

// Stages below the first one that is trained have no gradients: a sum of the whole table would
// write behind those that there are.
TEST(GradientSumTest, CoversTheStagesThatAreTrainedAndNothingElse) {
  constexpr idx_t kFrozen = idx_t{1} << 15, kTrained = 48;
  ParameterTable table;
  table.Add("embeddings", {kFrozen}, ParameterKind::kBias);
  table.BeginStage();
  table.Add("layer", {kTrained}, ParameterKind::kBias);
  table.Freeze({true, false});
  ASSERT_EQ(table.gradient_extent(), kTrained);
  Tensor values({table.extent()}), gradients({table.extent()});
  std::fill_n(gradients.data<float>(), table.extent(), 5.0f);  // beyond those of the layer
  table.Borrow(values.data<float>(), gradients.data<float>());
  Context context(1);
  GradientSum sum(nullptr, 2, table, test::SharesFor(table, 1));
  for (idx_t micro = 0; micro < 2; ++micro) {
    std::fill_n(gradients.data<float>(), kTrained, static_cast<float>(micro + 1));
    sum.Add(context, table, micro);
  }
  sum.Finish(context, table);
  for (idx_t i = 0; i < table.extent(); ++i) {
    ASSERT_EQ(gradients.data<float>()[i], i < kTrained ? 3.0f : 5.0f) << i;
  }
}

TEST(GradientSumTest, SumsOfLossesFollowTheSameTree) {
  const std::vector<double> values = {1e16, 1.0, -1e16, 1.0, 3.0, 4.0, 5.0};
  EXPECT_EQ(TreeSum(values), ((1e16 + 1.0) + (-1e16 + 1.0)) + ((3.0 + 4.0) + 5.0));
  EXPECT_EQ(TreeSum({}), 0.0);
}

TEST(GradientSumTest, SavesTheLogarithmOfTheShareAtMost) {
  EXPECT_EQ(KeptGradients({0, 1}, 1), 0);
  EXPECT_EQ(KeptGradients({0, 2}, 2), 1);
  EXPECT_EQ(KeptGradients({0, 8}, 8), 3);
  EXPECT_EQ(KeptGradients({0, 9}, 9), 3);
  EXPECT_EQ(KeptGradients({4, 8}, 8), 2);
  ParameterTable table;
  table.Add("numbers", {1000}, ParameterKind::kBias);
  EXPECT_EQ(GradientSumBytes(8, *test::SharesFor(table, 1)), 12'000u);
}

TEST(GradientSumTest, SharesAreNeighboursAndAsLargeAsEachOther) {
  idx_t next = 0;
  for (int rank = 0; rank < 3; ++rank) {
    const MicroRange share = ShareOf(11, rank, 3);
    EXPECT_EQ(share.begin, next);
    EXPECT_TRUE(share.size() == 3 || share.size() == 4);
    next = share.end;
  }
  EXPECT_EQ(next, 11);
  EXPECT_EQ(NodesOf({4, 8}, 12).size(), 1u);
  EXPECT_EQ(NodesOf({3, 6}, 6).size(), 2u);  // leaf 3, and 4 with 5
}

// ---- the same bits ------------------------------------------------------------------------------

std::string LossesOf(const fs::path& run) {
  std::ifstream in(run / "metrics.jsonl");
  std::string losses;
  for (std::string line; std::getline(in, line);) {
    auto j = nlohmann::json::parse(line);
    for (const char* name :
         {"tokens_per_s", "seconds", "rss_bytes", "ranks", "waiting", "sent_bytes", "exchanged"}) {
      j.erase(name);
    }
    losses += j.dump() + "\n";
  }
  return losses;
}

// A Longformer and a Reformer of letters, and rows of each task.
class RankTraining : public ::testing::Test {
 protected:
  RankTraining() {
    LongformerConfig c = LetterLongformer(10);
    c.sep_token = 3;
    SaveLetterLongformer(c, d_ / "longformer");
    ReformerConfig r = ReformerPreset("tiny");
    r.hidden_size = 32;
    r.heads = 2;
    r.head_size = 16;
    r.feed_forward_size = 32;
    r.axial_shape = {8, 16};
    r.axial_dims = {8, 24};
    r.local_chunk = r.lsh_chunk = 8;
    Reformer model(r);
    model.Initialise(1);
    SaveReformer(model, d_ / "reformer");
    std::string text, classes, pairs, answers;
    Rng rng(3);
    const auto letter = [&] { return std::string(1, static_cast<char>('a' + rng.Below(10))); };
    for (int row = 0; row < 12; ++row) {
      const std::string first = letter(), last = letter();
      std::string words = first;
      for (idx_t i = 2 + rng.Below(9); i > 0; --i) words += " " + letter();
      text += words + "\n";
      classes += nlohmann::json{{"text", words}, {"label", row % 2 == 0 ? "even" : "odd"}}.dump();
      pairs += nlohmann::json{{"anchor", first}, {"positive", words}}.dump();
      answers += nlohmann::json{{"question", "a b"},
                                {"context", words},
                                {"answers", {{{"text", first}, {"answer_start", 0}}}}}
                     .dump();
      for (std::string* lines : {&classes, &pairs, &answers}) *lines += "\n";
    }
    for (int i = 0; i < 3; ++i) text += text;
    PutFile(d_ / "lm", text);
    PutFile(d_ / "mlm", text);
    PutFile(d_ / "classify", classes);
    PutFile(d_ / "windows", classes);
    PutFile(d_ / "embed", pairs);
    PutFile(d_ / "qa", answers);
    for (const char* name : {"classify", "windows", "embed", "qa"}) {
      fs::rename(d_ / name, d_ / (std::string(name) + ".jsonl"));
    }
  }

  TrainOptions Options(const std::string& task, const std::string& run) const {
    TrainOptions o = task == "lm" || task == "mlm" ? TrainOptions() : FineTuneOptions();
    const bool rows = fs::exists(d_ / (task + ".jsonl"));
    o.model = d_ / (task == "lm" ? "reformer" : "longformer");
    o.data.train = {d_ / (rows ? task + ".jsonl" : task)};
    if (rows) o.data.eval = o.data.train[0];
    o.output = d_ / run;
    o.steps = 4;
    o.batch = 1;
    o.accumulate = 4;
    if (!rows) o.tokens = 24;
    if (task == "windows") o.tokens = 6;
    o.optimizer.learning_rate = 3e-3;
    o.compute.dropout = 0.1;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = o.checkpoints.save_every = 2;
    return o;
  }

  static TrainResult Train(const std::string& task, Context& context, const TrainOptions& o,
                           const TrainHooks& hooks) {
    if (task == "lm") return TrainLanguageModel(context, o, hooks);
    if (task == "mlm") return TrainMaskedLm(context, o, MaskedLmOptions(), hooks);
    if (task == "classify" || task == "windows") {
      ClassifyOptions classify;
      classify.epochs = 0.0;
      if (task == "windows") {
        classify.overflow = text::Overflow::kWindow;
        classify.window_loss = WindowLoss::kMean;
      }
      return TrainClassifier(context, o, classify, hooks);
    }
    if (task == "embed") {
      EmbedTrainingOptions embed;
      embed.epochs = 0.0;
      embed.negatives_batch = 2;
      return TrainEmbedder(context, o, embed, hooks);
    }
    AnswerTaskOptions qa;
    qa.epochs = 0.0;
    return TrainQuestionAnswering(context, o, qa, hooks);
  }

  // What rank 0 returns. `stop_after`: the last rank wants to stop there; 0: none does.
  static TrainResult TrainOn(int ranks, const std::string& task, const TrainOptions& o,
                             idx_t stop_after = 0) {
    TrainResult first;
    OnRanks(ranks, [&](World& world) {
      Context context(1);
      context.Join(&world);
      const TrainResult result = Train(task, context, o, StopOfLastRank(world, stop_after));
      EXPECT_EQ(result.stopped, stop_after > 0);
      if (world.is_first()) first = result;
    });
    return first;
  }

  std::string Weights(const std::string& run) const {
    return GetFile(d_ / run / "model.safetensors");
  }

  TempDir d_;
};

class RankTasks : public RankTraining, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Tasks, RankTasks,
                         ::testing::Values("lm", "mlm", "classify", "embed", "qa"));

TEST_P(RankTasks, EveryNumberOfRanksGivesTheSameBits) {
  const std::string task = GetParam();
  TrainOn(1, task, Options(task, "one"));
  for (const int ranks : {2, 3, 4}) {
    const std::string run = "of" + std::to_string(ranks);
    TrainOn(ranks, task, Options(task, run));
    EXPECT_EQ(LossesOf(d_ / run), LossesOf(d_ / "one")) << ranks;
    EXPECT_TRUE(Weights(run) == Weights("one")) << ranks;
  }
}

// Texts whose windows run twice, and which have one to three.
TEST_F(RankTraining, TextsInWindowsGiveTheSameBits) {
  for (const int ranks : {1, 3}) {
    TrainOptions o = Options("windows", std::to_string(ranks));
    o.steps = 2;
    o.checkpoints.eval_every = o.checkpoints.save_every = 0;
    TrainOn(ranks, "windows", o);
  }
  EXPECT_EQ(LossesOf(d_ / "3"), LossesOf(d_ / "1"));
  EXPECT_TRUE(Weights("3") == Weights("1"));
}

TEST_F(RankTraining, ARunThatStopsGoesOnWithAnotherNumberOfRanks) {
  TrainOn(1, "classify", Options("classify", "whole"));
  TrainOptions o = Options("classify", "run");
  TrainOn(4, "classify", o, 1);
  o.checkpoints.resume = true;
  TrainOn(3, "classify", o, 3);
  EXPECT_TRUE(TrainOn(1, "classify", o).resumed);
  EXPECT_EQ(LossesOf(o.output), LossesOf(d_ / "whole"));
  EXPECT_TRUE(Weights("run") == Weights("whole"));
}

// The number of micro-batches follows the ranks only at the start.
TEST_F(RankTraining, MicroBatchesAreRaisedToTheRanksAndAResumedRunKeepsThem) {
  TrainOptions o = Options("lm", "run");
  o.accumulate = 1;
  const auto thrown = TryOnRanks(3, [&](World& world) {
    Context context(1);
    context.Join(&world);
    world.Barrier();
    Train("lm", context, o, {});
  });
  // Rank 0 gives up; the others find the same, or hear of it before.
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[0]); }, ErrorCode::kUsage,
                     "accumulate: 1 micro-batches an update are too few for 3 ranks"));
  EXPECT_TRUE(thrown[1] && thrown[2]);
  o.accumulate_for_ranks = true;
  TrainOn(3, "lm", o, 2);
  o.checkpoints.resume = true;
  TrainOn(1, "lm", o);
  TrainOptions given = Options("lm", "given");
  given.accumulate = 3;
  TrainOn(1, "lm", given);
  EXPECT_EQ(LossesOf(o.output), LossesOf(given.output));
}

// ---- what is agreed -----------------------------------------------------------------------------

class RankLoop : public TrainerTest {
 protected:
  // Runs a fresh task on each rank; what each threw.
  std::vector<std::exception_ptr> TryOn(
      int ranks, const std::function<void(World&, TrainOptions&, Parabola&)>& prepare) {
    return TryOnRanks(ranks, [&](World& world) {
      Context context(1);
      context.Join(&world);
      TrainOptions own = o;
      Parabola task(own);
      prepare(world, own, task);
      TrainHooks hooks;
      if (world.is_first()) {
        hooks.on_event = [&](const TrainEvent& event) {
          if (event.kind == TrainEvent::Kind::kNote) notes += event.text + "\n";
        };
      }
      const TrainResult result = RunTraining(context, own, task, hooks);
      const std::lock_guard lock(mutex_);
      ended.insert(fmt::format("step {} skipped {} loss {:a}", result.step, result.skipped,
                               result.eval_loss));
      numbers = task.Numbers();
    });
  }

  std::set<std::string> ended;  // what ranks say of their run: one text if they agree

 private:
  std::mutex mutex_;
};

TEST_F(RankLoop, AllRanksSkipAnUpdateThatIsNotFiniteOnOne) {
  TryOn(2, [](World& world, TrainOptions&, Parabola& task) {
    if (world.rank() == 1) task.bad_loss = {5};
  });
  EXPECT_EQ(ended.size(), 1u);
  EXPECT_NE(ended.begin()->find("skipped 1"), std::string::npos) << *ended.begin();
  EXPECT_NE(notes.find("its rows: rows.csv:51"), std::string::npos) << notes;
}

TEST_F(RankLoop, ThreeInARowEndAllRanksWithTheSameError) {
  for (const std::exception_ptr& thrown : TryOn(3, [&](World&, TrainOptions&own, Parabola&task) {
         own.accumulate = 3;
         task.bad_loss = {7, 8, 9};
       })) {
    EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown); }, ErrorCode::kNumeric,
                       "checkpoint-6 is whole"));
  }
}

TEST_F(RankLoop, PatienceTimeAndEvaluationsAreThoseOfRankZero) {
  o.steps = 50;
  o.selection.patience = 2;
  o.checkpoints.max_time_s = 1e6;
  EXPECT_EQ(TryOn(2,
                  [](World& world, TrainOptions&, Parabola& task) {
                    // Were this rank to count, it would go on as long as its losses fall.
                    if (world.rank() == 1) task.on_evaluate = [&task] { task.worse -= 1.0; };
                  })[1],
            nullptr);
  EXPECT_EQ(ended.size(), 1u);
  EXPECT_NE(notes.find("the run ends early"), std::string::npos) << notes;
}

// Of the micro-batches of a rank's share only the last one is sent before it has ended.
TEST_F(RankLoop, TheLoopSendsGradientsThatAreToldAsWhole) {
  std::vector<idx_t> early(2, 0), calls(2, 0);
  o.steps = 3;
  o.accumulate = 4;
  TryOn(2, [&](World& world, TrainOptions&, Parabola& task) {
    const auto rank = static_cast<std::size_t>(world.rank());
    task.on_accumulate = [&, rank](idx_t) {
      const std::uint64_t before = world.bytes_sent();
      task.parameters().EndStage(Context(1), 0);
      ++calls[rank];
      early[rank] += world.bytes_sent() > before ? 1 : 0;
    };
  });
  EXPECT_EQ(calls, (std::vector<idx_t>{6, 6}));
  EXPECT_EQ(early, (std::vector<idx_t>{3, 0}));  // rank 1 adds these few numbers, and sends later
}

// A full disk.
TEST_F(RankLoop, ASaveThatFailsOnRankZeroEndsTheOthers) {
  const auto thrown = TryOn(2, [](World& world, TrainOptions& own, Parabola& task) {
    own.checkpoints.survive_save_error = false;
    if (world.is_first()) {
      task.on_save = [saves = 0]() mutable {
        if (++saves == 3) throw Error(ErrorCode::kIo, "No space left on device");
      };
    }
  });
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[0]); }, ErrorCode::kIo, "No space"));
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[1]); }, ErrorCode::kPeer,
                     "rank 0, after update 6, failed: step 6: checkpoint not saved: No space"));
}

TEST_F(RankLoop, ASaveThatFailsAndIsSurvivedChangesNothingElse) {
  TryOn(2, [](World& world, TrainOptions&, Parabola& task) {
    if (world.is_first()) {
      task.on_save = [saves = 0]() mutable {
        if (++saves == 3) throw Error(ErrorCode::kIo, "No space left on device");
      };
    }
  });
  EXPECT_NE(notes.find("step 6: checkpoint not saved"), std::string::npos) << notes;
  EXPECT_EQ(ended.size(), 1u);
  const std::string together = numbers;
  fs::remove_all(o.output);
  Run();
  EXPECT_EQ(numbers, together);
}

TEST_F(RankLoop, ARankWithOtherOptionsTextsOrWeightsIsNamedByAll) {
  const auto expect = [&](const char* what, const auto& prepare) {
    fs::remove_all(o.output);
    for (const std::exception_ptr& thrown : TryOn(3, prepare)) {
      EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown); }, ErrorCode::kFormat, what));
    }
  };
  o.accumulate = 3;
  expect("option seed is 5, on rank 0 it is 1", [](World& world, TrainOptions& own, Parabola&) {
    if (world.rank() == 1) own.seed = 5;
  });
  WriteStart(d.path() / "other", 0.5f);
  expect("the model's checksum is", [&](World& world, TrainOptions& own, Parabola&) {
    if (world.rank() == 2) own.model = d.path() / "other";
  });
  expect("option save_every is 4", [](World& world, TrainOptions& own, Parabola&) {
    if (world.rank() == 1) own.checkpoints.save_every = 4;
  });
}

TEST_F(RankLoop, AFailureOnOneRankIsThatRanksAndTheOthersName) {
  const auto thrown = TryOn(2, [](World& world, TrainOptions&, Parabola& task) {
    if (world.rank() == 1) {
      task.on_accumulate = [](idx_t step) {
        if (step == 3) throw Error(ErrorCode::kLimit, "memory: refused");
      };
    }
  });
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[1]); }, ErrorCode::kLimit, "refused"));
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[0]); }, ErrorCode::kPeer,
                     "rank 1, after update 2, failed: memory: refused"));
}

}  // namespace
}  // namespace longspan
