// Ranks that share the optimizer's state: who owns what, the same bits as one process has, with
// every optimizer and after every resume, and what happens when one of them fails on the way.
#include "train/shared_update.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <numeric>
#include <thread>

#include "base/rng.h"
#include "ops/adamw/adamw.h"
#include "tests/support/thread_world.h"
#include "train/shares_test.h"
#include "train/trainer_test.h"

namespace longspan {
namespace {

using test::GetFile;
using test::OnRanks;
using test::SharesFor;
using test::TryOnRanks;

// Nine blocks of numbers in three stages; parameters end in the midst of blocks.
void AddPlane(ParameterTable* table) {
  table->Add("words", {300, 96}, ParameterKind::kEmbedding);
  table->BeginStage();
  table->Add("first", {160, 128}, ParameterKind::kMatrix);
  table->Add("first.bias", {128}, ParameterKind::kBias);
  table->Add("second", {2, 130, 200}, ParameterKind::kMatrix);
  table->BeginStage();
  table->Add("norm", {100}, ParameterKind::kNormWeight);
  table->Add("third", {128, 257}, ParameterKind::kMatrix);
}

// ---- who owns what ------------------------------------------------------------------------------

class Cuts : public ::testing::TestWithParam<ParameterCut> {};
INSTANTIATE_TEST_SUITE_P(Both, Cuts,
                         ::testing::Values(ParameterCut::kAnywhere, ParameterCut::kWhole));

TEST_P(Cuts, EveryTrainedNumberIsAddedAndUpdatedOnce) {
  for (const bool freezes : {false, true}) {
    for (const int ranks : {1, 2, 3, 4, 16}) {
      ParameterTable table;
      AddPlane(&table);
      if (freezes) table.Freeze({true, true, false, false, true, false});
      const auto shares = SharesFor(table, ranks, GetParam());
      const idx_t first = table.extent() - table.gradient_extent();
      std::vector<int> added(static_cast<std::size_t>(table.gradient_extent()), -1);
      auto updated = added;
      idx_t before = table.gradient_extent();
      for (const OwnedRange& sum : shares->sums()) {
        EXPECT_LE(sum.end, before) << "from the end to the front";
        EXPECT_EQ(sum.begin % ParameterShares::kUnit, 0);
        std::fill(added.begin() + sum.begin, added.begin() + sum.end, sum.owner);
        before = sum.begin;
      }
      for (const OwnedRange& range : shares->Updated()) {
        std::fill(updated.begin() + range.begin, updated.begin() + range.end, range.owner);
      }
      std::vector<idx_t> parts(table.list().size(), 0);
      for (const OwnedPart& part : shares->parts()) {
        const ParameterInfo& info = table.list()[part.parameter];
        parts[part.parameter] += part.size();
        EXPECT_TRUE(GetParam() == ParameterCut::kAnywhere || part.size() == info.size);
        for (idx_t i = part.begin; i < part.end; ++i) {
          const idx_t at = info.offset - first + i;
          ASSERT_EQ(updated[static_cast<std::size_t>(at)], part.owner) << info.name << " " << i;
          const bool edge =
              std::any_of(shares->edges().begin(), shares->edges().end(), [&](const SharedEdge& e) {
                return e.begin <= at && at < e.end && e.to == part.owner &&
                       e.from == added[static_cast<std::size_t>(at)];
              });
          ASSERT_TRUE(edge || added[static_cast<std::size_t>(at)] == part.owner) << info.name << i;
        }
      }
      for (std::size_t i = 0; i < parts.size(); ++i) {
        const bool trains = table.trains(static_cast<ParameterId>(i));
        EXPECT_EQ(parts[i], trains ? table.list()[i].size : 0) << table.list()[i].name;
      }
    }
  }
}

TEST(ParameterShares, RanksOwnAlmostTheSameAndLittleIsInMemoryAtATime) {
  ParameterTable table;
  table.Add("words", {258, 512}, ParameterKind::kEmbedding);
  for (int layer = 0; layer < 6; ++layer) {
    table.BeginStage();
    for (const idx_t rows : {512, 512, 512, 512, 2048, 2048}) {
      table.Add(fmt::format("layer {} matrix {}", layer, table.list().size()), {rows, 512},
                ParameterKind::kMatrix);
    }
  }
  for (const auto cut : {ParameterCut::kAnywhere, ParameterCut::kWhole}) {
    for (const int ranks : {2, 4}) {
      const auto shares = SharesFor(table, ranks, cut);
      std::vector<idx_t> owned(static_cast<std::size_t>(ranks), 0);
      for (const OwnedPart& part : shares->parts()) {
        owned[static_cast<std::size_t>(part.owner)] += part.size();
      }
      const idx_t most = *std::max_element(owned.begin(), owned.end());
      EXPECT_LT(most * ranks, table.count() * 105 / 100);
      // Two of six layers, and the rank's own of the others.
      EXPECT_LT(shares->MostResident(), table.extent() * (ranks == 2 ? 75 : 60) / 100);
      EXPECT_GT(shares->MostResident(), most);
      // A rank's part of one layer is on its way; where matrices are whole, at most all of it.
      const idx_t layer = table.StageBegin(2) - table.StageBegin(1);
      EXPECT_LE(shares->MostReceived(), cut == ParameterCut::kWhole ? layer : layer / ranks);
    }
  }
  OptimizerOptions adamw;
  EXPECT_EQ(OptimizerStateBytes(adamw, table), static_cast<std::size_t>(table.count()) * 8);
  EXPECT_LT(OptimizerStateBytes(adamw, table, 4), OptimizerStateBytes(adamw, table) * 27 / 100);
}

// ---- what is in memory --------------------------------------------------------------------------

// Three stages of four blocks. Rank 1 owns the last half of each, rank 0 the other one.
struct Stages {
  static constexpr idx_t kStage = 4 * ParameterShares::kUnit;

  Stages() {
    table.Add("words", {kStage}, ParameterKind::kEmbedding);
    for (const char* name : {"first", "second"}) {
      table.BeginStage();
      table.Add(name, {kStage}, ParameterKind::kBias);
    }
    table.AllocateGradients();
    shares = SharesFor(table, 2);
  }
  void Fill(idx_t stage) { std::fill_n(table.gradients().data + stage * kStage, kStage, 1.0f); }
  // Pages of the gradients of a rank's sums, or of the other's, that are in memory.
  std::size_t Resident(int owner) const {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    std::size_t count = 0;
    for (const OwnedRange& sum : shares->sums()) {
      if (sum.owner != owner) continue;
      const auto first = reinterpret_cast<std::uintptr_t>(table.gradients().data + sum.begin);
      const auto begin = (first + page - 1) / page * page;
      const auto end = (first + static_cast<std::size_t>(sum.size()) * sizeof(float)) / page * page;
      std::vector<unsigned char> pages((end - begin) / page);
      EXPECT_EQ(mincore(reinterpret_cast<void*>(begin), end - begin, pages.data()), 0);
      count += static_cast<std::size_t>(
          std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return p & 1; }));
    }
    return count;
  }

  ParameterTable table;
  std::shared_ptr<const ParameterShares> shares;
  Context context{1};
};

TEST(SharedGradients, WhatARankHasSentLeavesItsMemory) {
  OnRanks(2, [&](World& world) {
    Stages stages;
    ASSERT_EQ(stages.shares->sums().size(), 6u);
    for (const idx_t micros : {2, 4}) {  // with two micro-batches a rank all stays where it is
      GradientSum sum(&world, micros, stages.table, stages.shares);
      for (idx_t micro = sum.share().begin; micro < sum.share().end; ++micro) {
        for (const idx_t stage : {0, 1, 2}) stages.Fill(stage);
        sum.Add(stages.context, stages.table, micro);
      }
      EXPECT_GT(stages.Resident(1 - world.rank()), 40u);
      sum.Finish(stages.context, stages.table);
      EXPECT_GT(stages.Resident(world.rank()), 40u);
      if (micros == 2) {
        EXPECT_EQ(stages.Resident(1 - world.rank()), 0u);
      } else {
        EXPECT_GT(stages.Resident(1 - world.rank()), 40u);
      }
      ClearGradients(&world, *stages.shares, stages.table);
    }
  });
}

// However slow the other rank is, no more than two stages are in memory.
TEST(SharedGradients, AStageWaitsUntilTheOneBeforeIsSent) {
  std::atomic<bool> first_has_sent{false}, second_sends{false};
  OnRanks(2, [&](World& world) {
    Stages stages;
    GradientSum sum(&world, 2, stages.table, stages.shares);
    const auto sending = sum.SendDuring(stages.context, stages.table, world.rank());
    if (!world.is_first()) {
      while (!first_has_sent) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      second_sends = true;
    }
    stages.Fill(2);
    stages.table.EndStage(stages.context, 2);
    if (world.is_first()) {
      EXPECT_FALSE(second_sends) << "the first stage has none before it";
      first_has_sent = true;
    }
    stages.Fill(1);
    stages.table.EndStage(stages.context, 1);
    EXPECT_TRUE(second_sends);
    stages.Fill(0);
    sum.Finish(stages.context, stages.table);
    for (const OwnedRange& range : stages.shares->sums()) {
      if (range.owner == world.rank()) {
        EXPECT_EQ(stages.table.gradients().data[range.begin], 2.0f);
      }
    }
  });
}

// ---- the norm -----------------------------------------------------------------------------------

TEST_P(Cuts, TheNormHasTheBitsOfOneProcess) {
  const auto fill = [](ParameterTable& table) {
    Rng rng(5);
    for (idx_t i = 0; i < table.gradient_extent(); ++i) {
      table.gradients().data[i] = std::ldexp(static_cast<float>(rng.Below(1 << 20)), -15);
    }
  };
  ParameterTable alone;
  AddPlane(&alone);
  alone.AllocateGradients();
  fill(alone);
  Context context(1);
  const double expected = SquaredNorm(context, alone.gradients());
  OnRanks(3, [&](World& world) {
    ParameterTable table;
    AddPlane(&table);
    table.AllocateGradients();
    fill(table);
    Context own(1);
    const auto shares = SharesFor(table, 3, GetParam());
    EXPECT_EQ(SharedSquaredNorm(own, &world, *shares, table), expected);
  });
}

// ---- the state ----------------------------------------------------------------------------------

struct Sink final : io::ByteSink {
  using ByteSink::Write;
  void Write(const void* data, std::size_t bytes) override {
    if (fails_at >= 0 && writes++ == fails_at) throw Error(ErrorCode::kIo, "No space left");
    text.append(static_cast<const char*>(data), bytes);
  }
  std::string text;
  int fails_at = -1, writes = 0;
};

// A sink that fails leaves no message on its way: the next save is whole.
TEST(SharedState, IsWholeOnRankZeroAlsoAfterADiskWasFull) {
  OptimizerOptions adamw;
  OnRanks(3, [&](World& world) {
    ParameterTable table;
    AddPlane(&table);
    const OptimizerState state(adamw, table, world.rank(), world.size());
    ASSERT_EQ(state.slots().size(), 12u);
    for (std::size_t slot = 0; slot < state.slots().size(); ++slot) {
      for (const OptimizerState::SlotPart& part : state.slots()[slot].parts) {
        EXPECT_EQ(part.values != nullptr, part.owner == world.rank());
        if (part.values != nullptr) {
          std::iota(part.values, part.values + part.size(), static_cast<float>(part.begin + slot));
        }
      }
    }
    if (!world.is_first()) {
      ServeState(world, state);
      ServeState(world, state);
      return;
    }
    const std::size_t third = 10;  // its first moment: three ranks have some of it
    std::set<int> owners;
    for (const auto& part : state.slots()[third].parts) owners.insert(part.owner);
    EXPECT_GE(owners.size(), 2u);
    {
      SharedState shared(&world, state);
      Sink full;
      full.fails_at = 0;
      EXPECT_TRUE(Throws([&] { shared.Write(third, full); }, ErrorCode::kIo, "No space"));
    }
    SharedState shared(&world, state);
    for (std::size_t slot = 0; slot < state.slots().size(); ++slot) {
      Sink sink;
      shared.Write(slot, sink);
      const auto count = static_cast<std::size_t>(state.slots()[slot].parts.back().end);
      ASSERT_EQ(sink.text.size(), count * sizeof(float));
      std::vector<float> values(count);
      std::memcpy(values.data(), sink.text.data(), sink.text.size());
      for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(values[i], static_cast<float>(i + slot));
    }
  });
}

TEST(SharedState, ARankThatDiesEndsRankZerosSave) {
  OptimizerOptions adamw;
  const auto thrown = TryOnRanks(2, [&](World& world) {
    ParameterTable table;
    AddPlane(&table);
    const OptimizerState state(adamw, table, world.rank(), world.size());
    if (!world.is_first()) throw Error(ErrorCode::kLimit, "no memory");
    SharedState shared(&world, state);
    Sink sink;
    for (std::size_t slot = 0; slot < state.slots().size(); ++slot) shared.Write(slot, sink);
  });
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[0]); }, ErrorCode::kPeer, "no memory"));
}

// ---- trainings ----------------------------------------------------------------------------------

// Loss of a micro-batch: the squared distance of every number to one that the update decides.
class Plane final : public TrainTask {
 public:
  Plane() {
    AddPlane(&table_);
    table_.Allocate();
  }
  std::function<void(idx_t step)> on_accumulate;

  void Load(const fs::path& directory, Origin, std::vector<std::string>*) override {
    const auto file = io::SafetensorsFile::Open(directory / "model.safetensors");
    const ParameterWriter writer = table_.Write();
    for (std::size_t i = 0; i < table_.list().size(); ++i) {
      const View<float, 1> values = writer.vector(static_cast<ParameterId>(i));
      file.ReadFloatInto(table_.list()[i].name,
                         {values.data, static_cast<std::size_t>(values.size())});
    }
  }
  void Start(const fs::path& directory) {
    fs::create_directories(directory);
    std::ofstream(directory / "config.json") << "{}\n";
    table_.Draw(3, 0.5, 0.5);
    io::WriteSafetensors(directory / "model.safetensors", Weights(), {});
  }
  ParameterTable& parameters() override { return table_; }
  std::string DataFingerprint() const override { return "plane"; }
  nlohmann::json DecidingOptions() const override { return nlohmann::json::object(); }
  StepSize Draw(idx_t step) override {
    step_ = step;
    return {1, 1};
  }
  TaskLoss Accumulate(Context& context, idx_t micro, float scale, const StepDropout&) override {
    if (on_accumulate) on_accumulate(step_);
    double sum = 0.0;
    for (auto i = static_cast<int>(table_.list().size()) - 1; i >= 0; --i) {
      sum += Differentiate(static_cast<ParameterId>(i), micro, scale);
      if (table_.list()[static_cast<std::size_t>(i)].name == "norm") table_.EndStage(context, 2);
      if (table_.list()[static_cast<std::size_t>(i)].name == "first") table_.EndStage(context, 1);
    }
    return {sum};
  }
  TaskEvaluation Evaluate(Context&, const EvalHooks&) override {
    TaskEvaluation found;
    found.loss = 1.0;
    return found;
  }
  std::vector<std::string> RowsOf(idx_t) const override { return {}; }
  std::string ConfigText() override { return "{}\n"; }
  void Save(const fs::path& directory) override {
    io::WriteSafetensors(directory / "model.safetensors", Weights(), {});
  }

 private:
  double Differentiate(ParameterId id, idx_t micro, float scale) {
    double sum = 0.0;
    const View<const float, 1> values = std::as_const(table_).vector(id);
    const View<float, 1> gradient = table_.vector_gradient(id);
    if (gradient.data == nullptr) return sum;  // of a frozen stage
    for (idx_t i = 0; i < values.size(); ++i) {
      const float aim = static_cast<float>((i * 7 + step_ * 13 + micro * 5) % 31) / 31.0f;
      const float away = values.data[i] - aim;
      sum += static_cast<double>(away) * static_cast<double>(away);
      gradient.data[i] += scale * 2.0f * away;
    }
    return sum;
  }

  ParameterTable table_;
  idx_t step_ = 0;
};

class SharedTraining : public ::testing::TestWithParam<OptimizerKind> {
 protected:
  SharedTraining() { Plane().Start(d_.path() / "start"); }

  TrainOptions Options(const std::string& run) const {
    TrainOptions o;
    o.model = d_.path() / "start";
    o.output = d_.path() / run;
    o.steps = 4;
    o.batch = 1;
    o.accumulate = 4;
    o.optimizer.kind = GetParam();
    o.optimizer.learning_rate = 0.05;
    o.optimizer.clip = 0.5;
    o.schedule.warmup = 0;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = 0;
    o.checkpoints.save_every = 2;
    return o;
  }

  // `stop_after`: the last rank wants to stop there; 0: none does.
  void TrainOn(int ranks, const TrainOptions& o, idx_t stop_after = 0) {
    std::mutex mutex;
    OnRanks(
        ranks,
        [&](World& world) {
          Context context(1 + world.rank() % 2);
          context.Join(&world);
          Plane task;
          task.on_accumulate = [&](idx_t step) {
            if (on_accumulate_) on_accumulate_(world.rank(), step);
          };
          RunTraining(context, o, task, StopOfLastRank(world, stop_after));
          const View<const float, 1> values = task.parameters().values();
          const std::lock_guard lock(mutex);
          weights_.emplace(reinterpret_cast<const char*>(values.data),
                           static_cast<std::size_t>(values.size()) * sizeof(float));
        },
        on_send_);
  }
  std::string Checkpoint(const std::string& run, const char* file) const {
    return GetFile(d_.path() / run / "checkpoint-4" / file);
  }

  TempDir d_;
  std::set<std::string> weights_;  // of all ranks that ran to the end
  std::function<void(int rank, int tag, std::size_t bytes)> on_send_;
  std::function<void(int rank, idx_t step)> on_accumulate_;
};
INSTANTIATE_TEST_SUITE_P(Optimizers, SharedTraining,
                         ::testing::Values(OptimizerKind::kAdamW, OptimizerKind::kAdafactor,
                                           OptimizerKind::kSgd),
                         [](const auto& of) { return std::string(OptimizerName(of.param)); });

TEST_P(SharedTraining, EveryNumberOfRanksHasTheWeightsAndTheStateOfOne) {
  for (const int ranks : {1, 2, 3, 4}) {
    TrainOn(ranks, Options(std::to_string(ranks)));
    EXPECT_EQ(weights_.size(), 1u) << ranks;
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      EXPECT_TRUE(Checkpoint(std::to_string(ranks), file) == Checkpoint("1", file))
          << ranks << " " << file;
    }
  }
}

// Rank 0 begins with an update's micro-batches before rank 1 has sent all weights of the one
// before.
TEST_P(SharedTraining, WeightsAreSentWhileTheNextForwardPassRuns) {
  std::atomic<bool> begun = false, late = false;
  on_accumulate_ = [&](int rank, idx_t step) { begun = begun || (rank == 0 && step == 2); };
  std::atomic<int> sent = 0;
  on_send_ = [&](int rank, int tag, std::size_t) {
    if (rank != 1 || !test::IsOfWeights(tag) || sent++ != 0) return;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    for (; !begun && !late; std::this_thread::yield()) {
      late = std::chrono::steady_clock::now() > end;
    }
  };
  TrainOptions o = Options("two");
  o.steps = 2;
  o.checkpoints.save_every = 0;
  TrainOn(2, o);
  EXPECT_GT(sent, 0);
  EXPECT_FALSE(late);
  EXPECT_EQ(weights_.size(), 1u);
}

// Frozen parameters have no state, and what a backward pass leaves in their gradients is nobody's.
TEST_P(SharedTraining, FrozenParametersStayAsTheyAre) {
  for (const int ranks : {1, 3}) {
    TrainOptions o = Options(std::to_string(ranks));
    o.trained.freeze = {"words", "first"};
    TrainOn(ranks, o);
  }
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(Checkpoint("3", file) == Checkpoint("1", file)) << file;
  }
}

TEST_P(SharedTraining, ARunGoesOnWithAnyOtherNumberOfRanks) {
  TrainOn(1, Options("whole"));
  weights_.clear();
  TrainOptions o = Options("run");
  TrainOn(4, o, 1);
  o.checkpoints.resume = true;
  TrainOn(1, o, 2);
  TrainOn(2, o, 3);
  weights_.clear();
  TrainOn(3, o);
  EXPECT_EQ(weights_.size(), 1u);
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_TRUE(Checkpoint("run", file) == Checkpoint("whole", file)) << file;
  }
}

}  // namespace
}  // namespace longspan
