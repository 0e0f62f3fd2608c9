// Steps of random rows on several ranks, which are threads: the bits of one process, and for which
// kind of exchange ranks wait.
#include "train/step_bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>

#include "families/longformer/family.h"
#include "tests/support/files.h"
#include "tests/support/thread_world.h"
#include "train/rank_policy.h"
#include "train/shares_test.h"
#include "train/training_test.h"

namespace longspan {
namespace {

using std::chrono::milliseconds;
using test::OnRanks;
using test::Throws;

// A classifier: its first token is global. Of two ranks that share 48 tokens the first layer
// exchanges halos, and the second one, whose windows are wider than a slab, heads.
std::unique_ptr<ModelConfig> BenchedModel() {
  LongformerConfig config = LetterLongformer(10);
  config.attention_window = {4, 64};
  auto model = MakeModelConfig(std::move(config));
  model->PutHead({HeadKind::kSequence, {"even", "odd"}, ProblemType::kSingleLabel});
  model->GrowPositions(48);
  return model;
}

StepPolicy PolicyOf(const ModelConfig& model, int ranks, int row_ranks, idx_t micros) {
  StepPolicy policy;
  policy.ranks = ranks;
  policy.row_ranks = row_ranks;
  AddRankNeeds(micros, 1, *model.Make(ParameterMemory::kBorrowed), &policy);
  return policy;
}

std::vector<float> WeightsAfterTwoSteps(Context& context, int ranks, int row_ranks, idx_t micros) {
  const auto model = BenchedModel();
  StepBench bench(context, *model, 1, 48, StepKind::kTrain,
                  PolicyOf(*model, ranks, row_ranks, micros), micros);
  bench.Step();
  bench.Step();
  bench.AwaitWeights();
  const View<const float, 1> values = bench.parameters().values();
  return {values.data, values.data + values.size()};
}

TEST(StepBench, RanksHaveTheWeightsOfOneProcess) {
  Context alone(1);
  const std::vector<float> one = WeightsAfterTwoSteps(alone, 1, 1, 3);
  const std::vector<float> fewer = WeightsAfterTwoSteps(alone, 1, 1, 2);
  EXPECT_NE(one, fewer);
  OnRanks(2, [&](World& world) {
    Context context(1);
    context.Join(&world);
    EXPECT_EQ(WeightsAfterTwoSteps(context, 2, 1, 3), one);
  });
}

TEST(StepBench, RanksShareTheWorkOfAStep) {
  Context alone(1);
  const auto model = BenchedModel();
  const StepBench one(alone, *model, 1, 48, StepKind::kTrain, PolicyOf(*model, 1, 1, 2), 2);
  EXPECT_EQ(one.share(), 2);
  OnRanks(2, [&](World& world) {
    Context context(1);
    context.Join(&world);
    const StepBench micros(context, *model, 1, 48, StepKind::kTrain, PolicyOf(*model, 2, 1, 2), 2);
    EXPECT_EQ(micros.share(), 1);
    EXPECT_DOUBLE_EQ(micros.Gflop(), one.Gflop() / 2);
  });
  OnRanks(2, [&](World& world) {
    Context context(1);
    context.Join(&world);
    {
      const StepBench rows(context, *model, 1, 48, StepKind::kTrain, PolicyOf(*model, 2, 2, 2), 2);
      EXPECT_EQ(rows.share(), 2);
      EXPECT_DOUBLE_EQ(rows.Gflop(), one.Gflop() / 2);
    }
    EXPECT_EQ(context.row_group(), nullptr);
    EXPECT_TRUE(Throws(
        [&] { StepBench(context, *model, 1, 48, StepKind::kTrain, PolicyOf(*model, 2, 1, 2), 1); },
        ErrorCode::kUsage, "accumulate: 1 micro-batches an update are too few for 2 ranks"));
    EXPECT_TRUE(
        Throws([&] { StepBench(context, *model, 1, 48, StepKind::kTrain, StepPolicy(), 2); },
               ErrorCode::kUsage, "a step of 1 ranks, and there are 2"));
  });
}

// ---- what waits ---------------------------------------------------------------------------------

ExchangeKind KindOf(int tag) {
  for (std::size_t i = 0; i < kExchangeKinds; ++i) {
    if (tag == RowTag(static_cast<ExchangeKind>(i))) return static_cast<ExchangeKind>(i);
  }
  if (tag >= 3 * kTagsOfShares) return ExchangeKind::kTogether;
  return test::IsOfWeights(tag) ? ExchangeKind::kWeights : ExchangeKind::kGradients;
}

// What a step of two ranks that share rows waits for, if one message of a kind is late: of this
// kind the most, of others the least of the two ranks.
std::array<double, kExchangeKinds> WaitedWith(ExchangeKind late, milliseconds delay) {
  std::atomic<bool> may_be_late = false;
  std::array<std::array<double, kExchangeKinds>, 2> waited{};
  std::array<std::atomic<std::uint64_t>, kExchangeKinds> sent{};
  const auto step = [&](World& world) {
    Context context(1);
    context.Join(&world);
    const auto model = BenchedModel();
    StepBench bench(context, *model, 1, 48, StepKind::kTrain, PolicyOf(*model, 2, 2, 1));
    bench.Step();  // the next one gets its weights
    world.Barrier();
    if (world.is_first()) may_be_late = true;  // no message of the barrier is to be sent any more
    const ExchangeCounts before = world.exchanged();
    bench.Step();
    const ExchangeCounts counts = CountsSince(world.exchanged(), before);
    for (std::size_t i = 0; i < kExchangeKinds; ++i) {
      waited[static_cast<std::size_t>(world.rank())][i] = counts[i].waited_s;
      sent[i] += counts[i].bytes;
    }
    bench.AwaitWeights();
  };
  OnRanks(2, step, {}, [&](int tag) {
    const bool is_late = KindOf(tag) == late && may_be_late.exchange(false);
    return is_late ? delay : milliseconds(0);
  });
  std::array<double, kExchangeKinds> least{};
  for (std::size_t i = 0; i < least.size(); ++i) {
    least[i] = std::min(waited[0][i], waited[1][i]);
    EXPECT_GT(sent[i], 0u) << NameOf(static_cast<ExchangeKind>(i));
  }
  least[static_cast<std::size_t>(late)] = std::max(waited[0][static_cast<std::size_t>(late)],
                                                   waited[1][static_cast<std::size_t>(late)]);
  return least;
}

// A thread that the machine has no time for waits too, for anything: the least of some attempts
// counts.
TEST(StepBench, ADelayShowsUnderTheKindThatIsLateAndNoOther) {
  constexpr milliseconds kDelay(120);
  constexpr double kDelayS = 0.12;
  for (std::size_t kind = 0; kind < kExchangeKinds; ++kind) {
    const auto late = static_cast<ExchangeKind>(kind);
    SCOPED_TRACE(NameOf(late));
    std::array<double, kExchangeKinds> least;
    least.fill(1e9);
    const auto quiet = [&] {
      for (std::size_t i = 0; i < least.size(); ++i) {
        if (i != kind && least[i] > 0.5 * kDelayS) return false;
      }
      return true;
    };
    for (int attempt = 0; attempt < 5 && !quiet(); ++attempt) {
      const auto waited = WaitedWith(late, kDelay);
      EXPECT_GE(waited[kind], 0.9 * kDelayS);
      for (std::size_t i = 0; i < least.size(); ++i) least[i] = std::min(least[i], waited[i]);
    }
    for (std::size_t i = 0; i < least.size(); ++i) {
      if (i == kind) continue;
      EXPECT_LE(least[i], 0.5 * kDelayS) << NameOf(static_cast<ExchangeKind>(i));
    }
  }
}

}  // namespace
}  // namespace longspan
