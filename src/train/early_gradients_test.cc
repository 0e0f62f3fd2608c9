// Gradients are on their way to other ranks while the backward pass that makes them goes on.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "families/bert/family.h"
#include "families/longformer/family.h"
#include "families/modernbert/family.h"
#include "families/reformer/family.h"
#include "model/model_config.h"
#include "model/targets.h"
#include "tests/support/files.h"
#include "tests/support/thread_world.h"
#include "train/gradient_sum.h"
#include "train/shares_test.h"

namespace longspan {
namespace {

using test::OnRanks;
using test::Throws;

constexpr idx_t kEarlyRows = 2, kEarlyTokens = 32;

std::unique_ptr<ModelConfig> SmallModel(const std::string& family) {
  const auto small = [](auto config) {
    config.vocab_size = 300;
    return MakeModelConfig(std::move(config));
  };
  std::unique_ptr<ModelConfig> model;
  if (family == "longformer") model = small(LongformerPreset("tiny"));
  if (family == "bert") model = small(BertPreset(BertTypeNamed("bert", "test"), "tiny"));
  if (family == "modernbert") model = small(ModernBertPreset("tiny"));
  if (family == "reformer") model = small(ReformerPreset("tiny"));
  WantedHead wanted;
  wanted.head = HeadKind::kSequence;  // whose gradients are none of the embeddings'
  wanted.labels = {"a", "b", "c"};
  wanted.problem = ProblemType::kSingleLabel;
  model->PutHead(wanted);
  ModelSizes sizes;
  sizes.width = 32;
  sizes.heads = 2;
  model->Resize(sizes);
  return model;
}

// A model whose micro-batches are two rows of tokens. The second one has `hidden` at its end that
// are padding: a Reformer then runs once for each row.
struct SmallStep {
  explicit SmallStep(const ModelConfig& config, idx_t hidden = 0)
      : hidden_tokens(hidden), model(config.Make(ParameterMemory::kOwn)) {
    model->Initialise(7);
    model->parameters().AllocateGradients();
  }
  void Run(idx_t micro) {
    constexpr idx_t kTokens = kEarlyRows * kEarlyTokens;
    const TextModelInfo& info = model->info();
    std::vector<std::int32_t> ids, room(kTokens);
    for (idx_t t = 0; t < kTokens; ++t) {
      ids.push_back(static_cast<std::int32_t>(10 + (7 + micro) * t % (info.vocab_size - 20)));
    }
    std::vector<std::uint8_t> roles(kTokens, kLocalToken);
    std::fill(roles.end() - hidden_tokens, roles.end(), kHiddenToken);
    const Targets targets(info, kEarlyRows, kEarlyTokens, room);
    BatchView batch;
    batch.rows = kEarlyRows;
    batch.tokens = kEarlyTokens;
    batch.ids = ids;
    batch.roles = {roles.data(), {kEarlyRows, kEarlyTokens}};
    targets.AddTo(&batch);
    model->LossAndGradients(context, batch, 1.0f, {true, static_cast<std::uint64_t>(micro)});
  }
  // The micro-batches of a rank's share.
  void RunShare(GradientSum& sum) {
    for (idx_t micro = sum.share().begin; micro < sum.share().end; ++micro) {
      const auto sending = sum.SendDuring(context, table(), micro);
      Run(micro);
      sum.Add(context, table(), micro);
    }
  }
  ParameterTable& table() { return model->parameters(); }

  idx_t hidden_tokens;
  std::unique_ptr<TextModel> model;
  Context context{1};
};

bool AllZero(const float* data, idx_t count) {
  return std::all_of(data, data + count, [](float x) { return x == 0.0f; });
}

// Rank 1 has two micro-batches, the first of which is a node of its own.
void ExpectEarlyGradients(const ModelConfig& config) {
  constexpr idx_t kMicros = 3;
  constexpr int kRanks = 2;
  SmallStep alone(config);
  GradientSum alone_sum(nullptr, kMicros, alone.table(), test::SharesFor(alone.table(), 1));
  alone.RunShare(alone_sum);
  alone_sum.Finish(alone.context, alone.table());
  const View<float, 1> expected = alone.table().gradients();

  std::vector<std::unique_ptr<SmallStep>> steps;
  for (int rank = 0; rank < kRanks; ++rank) {
    steps.push_back(std::make_unique<SmallStep>(config));
  }
  const auto shares = test::SharesFor(alone.table(), kRanks);
  std::vector<idx_t> early(kRanks, 0);
  OnRanks(
      kRanks,
      [&](World& world) {
        SmallStep& step = *steps[static_cast<std::size_t>(world.rank())];
        GradientSum sum(&world, kMicros, step.table(), shares);
        step.RunShare(sum);
        sum.Finish(step.context, step.table());
      },
      [&](int rank, int tag, std::size_t bytes) {
        if (tag > 30'000) return;  // of calls that all ranks make together
        // The backward of all layers has ended, that of the embeddings has not begun.
        const ParameterTable& table = steps[static_cast<std::size_t>(rank)]->table();
        if (AllZero(table.gradients().data, table.StageBegin(1))) {
          early[static_cast<std::size_t>(rank)] += static_cast<idx_t>(bytes);
        }
      });
  std::vector<float> all(static_cast<std::size_t>(expected.size()));
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_GT(early[static_cast<std::size_t>(rank)], 0) << "rank " << rank;
    test::TakeOwn(*shares, steps[static_cast<std::size_t>(rank)]->table(), rank, &all);
  }
  EXPECT_TRUE(std::equal(all.begin(), all.end(), expected.data));
}

class EarlyFamilies : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, EarlyFamilies,
                         ::testing::Values("longformer", "bert", "modernbert", "reformer"));

TEST_P(EarlyFamilies, AreSentBeforeThoseOfTheEmbeddingsAreThere) {
  ExpectEarlyGradients(*SmallModel(GetParam()));
}

// A micro-batch of several passes sends nothing before the last one: what was sent in an earlier
// one would lack a part, and the pass after it would be refused.
TEST(EarlyGradients, OfSeveralPassesAreSentInTheLastOne) {
  const auto config = SmallModel("reformer");
  SmallStep alone(*config, 8);
  GradientSum alone_sum(nullptr, 2, alone.table(), test::SharesFor(alone.table(), 1));
  alone.RunShare(alone_sum);
  alone_sum.Finish(alone.context, alone.table());
  const View<float, 1> expected = alone.table().gradients();
  const auto shares = test::SharesFor(alone.table(), 2);
  std::vector<float> all(static_cast<std::size_t>(expected.size()));
  OnRanks(2, [&](World& world) {
    SmallStep step(*config, 8);
    GradientSum sum(&world, 2, step.table(), shares);
    const std::uint64_t before = world.bytes_sent();
    step.RunShare(sum);
    EXPECT_GT(world.bytes_sent(), before);
    sum.Finish(step.context, step.table());
    test::TakeOwn(*shares, step.table(), world.rank(), &all);
  });
  EXPECT_TRUE(std::equal(all.begin(), all.end(), expected.data));
}

// Whoever forgets to say so is told.
TEST(EarlyGradients, APassAfterTheLastOneIsRefused) {
  const auto config = SmallModel("bert");
  OnRanks(2, [&](World& world) {
    SmallStep step(*config);
    GradientSum sum(&world, 2, step.table(), test::SharesFor(step.table(), 2));
    const auto sending = sum.SendDuring(step.context, step.table(), world.rank());
    {
      const PassesToCome passes(step.table(), true);
      step.Run(0);
    }
    EXPECT_EQ(world.bytes_sent(), 0u);
    step.Run(0);
    EXPECT_GT(world.bytes_sent(), 0u);
    EXPECT_TRUE(Throws([&] { step.Run(0); }, ErrorCode::kUsage, "needs PassesToCome"));
  });
}

}  // namespace
}  // namespace longspan
