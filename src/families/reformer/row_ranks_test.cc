// Reformers whose rows several ranks share, with threads as ranks: losses and gradients are those
// of one rank.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>
#include <vector>

#include "base/arena.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer_test.h"
#include "families/reformer/row_halo.h"
#include "families/reformer/separate_mechanism.h"
#include "model/step_memory.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/late_values.h"
#include "tests/support/runners.h"
#include "tests/support/thread_world.h"

namespace longspan {
namespace {

using test::OnRanks;
using test::Throws;

struct Step {
  HeadLoss loss;
  double evaluated = 0.0;
  std::vector<double> gradients;
};

// What a step is made of beside its batch.
struct Way {
  StepDropout dropout = {false, 7};
  DType compute = DType::kF32;
  DType gradient_streams = DType::kF32;
  std::size_t keep = 0;
  int threads = 1;                       // of each rank
  std::vector<std::string> frozen = {};  // parts of names of parameters
};

bool IsFrozen(const Way& way, const std::string& name) {
  return std::any_of(way.frozen.begin(), way.frozen.end(),
                     [&](const std::string& part) { return name.find(part) != std::string::npos; });
}

void Freeze(const Way& way, ParameterTable& table) {
  if (way.frozen.empty()) return;
  std::vector<bool> frozen;
  for (const auto& entry : table.list()) frozen.push_back(IsFrozen(way, entry.name));
  table.Freeze(frozen);
}

Step RunStep(Context& context, const ReformerConfig& config, const ReformerBatch& batch,
             const Way& way) {
  Reformer model(config);
  model.Initialise(3);
  model.ComputeIn(way.compute);
  model.GradientStreamsIn(way.gradient_streams);
  model.KeepUpTo(way.keep);
  Freeze(way, model.parameters());
  model.parameters().AllocateGradients();
  Step step;
  const test::LateValues late(model.parameters());
  if (way.compute == DType::kF32) step.evaluated = model.Loss(context, batch).sum;
  step.loss = model.LossAndGradients(context, batch, 0.01f, way.dropout);
  for (const float g : Copied(model.parameters().gradients())) step.gradients.push_back(g);
  return step;
}

// On so many ranks: the gradients are the sum of theirs.
Step RunOnRanks(int ranks, const ReformerConfig& config, const ReformerBatch& batch,
                const Way& way) {
  std::vector<Step> steps(static_cast<std::size_t>(ranks));
  OnRanks(ranks, [&](World& world) {
    RowGroup group(world, ranks);
    Context context(way.threads);
    context.SplitRows(&group);
    steps[static_cast<std::size_t>(world.rank())] = RunStep(context, config, batch, way);
  });
  Step sum = steps[0];
  for (std::size_t r = 1; r < steps.size(); ++r) {
    EXPECT_EQ(steps[r].loss.sum, sum.loss.sum);  // the same on all of them
    EXPECT_EQ(steps[r].loss.counted, sum.loss.counted);
    EXPECT_EQ(steps[r].evaluated, sum.evaluated);
    for (std::size_t i = 0; i < sum.gradients.size(); ++i) {
      sum.gradients[i] += steps[r].gradients[i];
    }
  }
  return sum;
}

double Distance(const std::vector<double>& a, const std::vector<double>& b) {
  double squares = 0.0, length = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    squares += (a[i] - b[i]) * (a[i] - b[i]);
    length += b[i] * b[i];
  }
  return std::sqrt(squares / length);
}

// Ranks add products of other widths in another order: a few roundings of sums. Exact products
// would leave about the root of the number of roundings that a gradient sees.
constexpr double kOrder = 2e-6;

void ExpectSame(const ReformerConfig& config, const ReformerBatch& batch, const Way& way = {},
                double order = kOrder) {
  Context context(2);
  const Step one = RunStep(context, config, batch, way);
  for (const int ranks : {2, 4}) {
    SCOPED_TRACE(ranks);
    const Step all = RunOnRanks(ranks, config, batch, way);
    EXPECT_NEAR(all.loss.sum, one.loss.sum, order * one.loss.sum);
    EXPECT_EQ(all.loss.counted, one.loss.counted);
    EXPECT_NEAR(all.loss.mean, one.loss.mean, order * one.loss.mean);
    EXPECT_NEAR(all.evaluated, one.evaluated, order * std::abs(one.evaluated));
    EXPECT_LT(Distance(all.gradients, one.gradients), order);
  }
}

// Local and LSH layers; five heads, which no number of ranks divides.
ReformerConfig RowConfig() {
  ReformerConfig config = MixedConfig();
  config.layers = {LayerKind::kLocal, LayerKind::kLsh};
  config.heads = 5;
  config.num_buckets = {4};
  return config;
}

// Slabs that cut chunks exchange heads in all layers. Those of whole chunks (32 or 16 tokens, and
// one more in the last) exchange the chunks around them in local layers.
constexpr idx_t kCutChunks = 71, kWholeChunks = 65;

// A step whose loss is over hidden states: all ranks get those of all tokens, with dropout and
// without, and each leaves the gradients of its own.
TEST(RowRanks, ShareAStepOverHiddenStates) {
  ReformerConfig config = RowConfig();
  config.head = HeadKind::kNone;
  for (const idx_t tokens : {kCutChunks, kWholeChunks}) {
    SCOPED_TRACE(tokens);
    const RandomBatch data(1, tokens, 31, 8);
    const idx_t width = 2 * config.hidden_size;
    struct Result {
      std::vector<double> states, gradients;
    };
    const auto run = [&](Context& context) {
      Reformer model(config);
      model.Initialise(3);
      model.parameters().AllocateGradients();
      Tensor states({2 * tokens, width}), cotangent({tokens, width});
      const View<float, 2> all = states.view<2>();
      model.EncodeInStep(context, data.batch, {true, 7}, all.Rows(0, tokens));
      model.EncodeTexts(context, data.batch, all.Rows(tokens, tokens));
      for (idx_t i = 0; i < cotangent.size(); ++i) {
        cotangent.data<float>()[i] = static_cast<float>(i % 7) - 3.0f;
      }
      model.CotangentGradients(context, data.batch, std::as_const(cotangent).view<2>(), {true, 7});
      Result result;
      for (idx_t i = 0; i < states.size(); ++i) result.states.push_back(states.data<float>()[i]);
      for (const float g : Copied(model.parameters().gradients())) result.gradients.push_back(g);
      return result;
    };
    Context context(2);
    const Result one = run(context);
    for (const int ranks : {2, 4}) {
      std::vector<Result> parts(static_cast<std::size_t>(ranks));
      OnRanks(ranks, [&](World& world) {
        RowGroup group(world, ranks);
        Context own(1);
        own.SplitRows(&group);
        parts[static_cast<std::size_t>(world.rank())] = run(own);
      });
      std::vector<double> sum(one.gradients.size(), 0.0);
      for (const Result& part : parts) {
        EXPECT_EQ(part.states, parts[0].states);
        for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part.gradients[i];
      }
      EXPECT_LT(Distance(parts[0].states, one.states), kOrder);
      EXPECT_LT(Distance(sum, one.gradients), kOrder);
    }
  }
}

TEST(RowRanks, ShareOneRow) {
  for (const idx_t tokens : {kCutChunks, kWholeChunks, idx_t{64}, idx_t{3}, idx_t{1}}) {
    SCOPED_TRACE(tokens);
    const RandomBatch data(1, tokens, 31, 8);
    ExpectSame(RowConfig(), data.batch);
  }
}

TEST(RowRanks, KnowWhichLayersHaveHalos) {
  OnRanks(4, [](World& world) {
    RowGroup group(world, 4);
    const ParameterTable none;
    const ChunkedSpec spec = LocalSpec(RowConfig());
    const auto has = [&](idx_t rows, idx_t tokens, const ChunkedSpec& chunks) {
      BranchCall call{none, nullptr, rows, tokens, {}};
      call.ranks = &group;
      return RowHalo::Of(call, &chunks).has_value();
    };
    EXPECT_TRUE(has(1, kWholeChunks, spec));
    EXPECT_FALSE(has(1, kCutChunks, spec));
    EXPECT_FALSE(has(2, kWholeChunks, spec));
    ChunkedSpec wide = spec;
    wide.before = 3;  // more than the two chunks of a slab
    EXPECT_FALSE(has(1, kWholeChunks, wide));
    const BranchCall alone{none, nullptr, 1, kWholeChunks, {}};
    EXPECT_FALSE(RowHalo::Of(alone, &spec).has_value());
  });
}

// Windows that look both ways, around the circle, past hidden tokens, and draw masks.
TEST(RowRanks, ExchangeTheChunksAroundTheirSlabs) {
  for (const bool causal : {true, false}) {
    SCOPED_TRACE(causal);
    ReformerConfig config = RowConfig();
    config.layers.assign(2, LayerKind::kLocal);
    config.is_decoder = causal;
    config.local_after = causal ? 0 : 1;
    config.hidden_dropout = config.local_dropout = 0.2;
    RandomBatch data(1, kWholeChunks, 31, 8);
    std::vector<std::uint8_t> roles(kWholeChunks, kLocalToken);
    for (const std::size_t t : {0u, 3u, 16u, 17u, 31u, 32u, 40u, 64u}) roles[t] = kHiddenToken;
    Way way;
    way.dropout = {true, 7};
    ExpectSame(config, data.batch, way);
    data.batch.roles = KeyMask(roles.data(), {1, kWholeChunks});
    ExpectSame(config, data.batch, way);
  }
}

// Slabs begin within a row and end in the next one.
TEST(RowRanks, ShareRowsOfABatch) {
  ReformerConfig config = RowConfig();
  config.axial = false;
  const RandomBatch data(3, 23, 31, 8);
  ExpectSame(config, data.batch);
}

TEST(RowRanks, DrawTheMasksOfOneRank) {
  for (const bool axial : {true, false}) {
    SCOPED_TRACE(axial);
    ReformerConfig config = RowConfig();
    config.axial = axial;
    config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.2;
    const RandomBatch data(2, 37, 31, 8);
    Way way;
    way.dropout = {true, 7};
    ExpectSame(config, data.batch, way);
    // Other masks are another loss: the comparison would notice.
    Context context(1);
    const Step one = RunStep(context, config, data.batch, way);
    way.dropout.key = 8;
    EXPECT_GT(Distance(RunStep(context, config, data.batch, way).gradients, one.gradients),
              100 * kOrder);
  }
}

TEST(RowRanks, LookBothWaysAndPastHiddenTokens) {
  ReformerConfig config = RowConfig();
  config.is_decoder = false;
  config.local_after = config.lsh_after = 1;
  RandomBatch data(2, 40, 31, 8);
  std::vector<std::uint8_t> roles(80, kLocalToken);
  for (const std::size_t t : {0u, 3u, 17u, 18u, 19u, 20u, 39u, 60u}) roles[t] = kHiddenToken;
  data.batch.roles = KeyMask(roles.data(), {2, 40});
  for (const std::size_t t : {3u, 60u}) data.targets[t] = kIgnoreLabel;
  ExpectSame(config, data.batch);
}

TEST(RowRanks, HaveEveryAttention) {
  for (const AttentionChoice choice : {AttentionChoice::kFull, AttentionChoice::kLocal}) {
    SCOPED_TRACE(AttentionName(choice));
    ReformerConfig config = RowConfig();
    config.attention = choice;
    const RandomBatch data(1, 45, 31, 8);
    ExpectSame(config, data.batch);
  }
  ReformerConfig config = RowConfig();
  config.layers = {LayerKind("window"), LayerKind("full")};
  const RandomBatch data(1, 45, 31, 8);
  ExpectSame(config, data.batch);
}

TEST(RowRanks, ShareRowsOfDocuments) {
  ReformerConfig config = RowConfig();
  config.hidden_dropout = config.local_dropout = 0.2;
  for (const bool axial : {true, false}) {
    config.axial = axial;
    RandomBatch data(2, 40, 31, 8);
    const std::vector<idx_t> documents = {5, 30, 1, 4, 24, 16};
    data.batch.documents = documents;
    Way way;
    way.dropout = {true, 7};
    ExpectSame(config, data.batch, way);
  }
}

// What is saved and what is computed again have the same bits, on each rank.
TEST(RowRanks, SaveActivationsAsTheyLike) {
  const ReformerConfig config = RowConfig();
  for (const idx_t tokens : {kCutChunks, kWholeChunks}) {
    const RandomBatch data(1, tokens, 31, 8);
    const Step none = RunOnRanks(2, config, data.batch, {});
    for (const std::size_t keep : {std::size_t{40'000}, std::numeric_limits<std::size_t>::max()}) {
      Way way;
      way.keep = keep;
      EXPECT_EQ(RunOnRanks(2, config, data.batch, way).gradients, none.gradients) << keep;
    }
  }
}

// Packed documents exchange heads where one text would exchange chunks: three of five heads of all
// tokens are more than a slab of all heads with the chunks around it.
TEST(RowRanks, SaveActivationsOfPackedDocuments) {
  ReformerConfig config = RowConfig();
  config.axial = false;
  config.max_positions = 256;
  RandomBatch data(1, 256, 31, 8);
  const std::vector<idx_t> documents = {100, 90, 66};
  data.batch.documents = documents;
  Way way;
  const Step none = RunOnRanks(2, config, data.batch, way);
  way.keep = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(RunOnRanks(2, config, data.batch, way).gradients, none.gradients);
}

// Frozen matrices have no gradient, and the others the bits that they have without any.
TEST(RowRanks, LeaveOutProductsOfFrozenMatrices) {
  const ReformerConfig config = RowConfig();
  const Reformer model(config);
  for (const idx_t tokens : {kCutChunks, kWholeChunks}) {
    SCOPED_TRACE(tokens);
    const RandomBatch data(1, tokens, 31, 8);
    Way way;
    const Step all = RunOnRanks(2, config, data.batch, way);
    way.frozen = {"self_attention.", "attention.output.dense"};
    const Step some = RunOnRanks(2, config, data.batch, way);
    ASSERT_EQ(some.gradients.size(), all.gradients.size());
    for (const ParameterInfo& parameter : model.parameters().list()) {
      for (idx_t i = 0; i < parameter.size; ++i) {
        const auto at = static_cast<std::size_t>(parameter.offset + i);
        ASSERT_EQ(some.gradients[at], IsFrozen(way, parameter.name) ? 0.0 : all.gradients[at])
            << parameter.name;
      }
    }
  }
}

TEST(RowRanks, AnyNumberOfThreadsGivesTheSameBits) {
  const ReformerConfig config = RowConfig();
  for (const idx_t tokens : {kCutChunks, kWholeChunks}) {
    const RandomBatch data(1, tokens, 31, 8);
    Way way;
    const Step one = RunOnRanks(2, config, data.batch, way);
    way.threads = 3;
    const Step three = RunOnRanks(2, config, data.batch, way);
    EXPECT_EQ(one.loss.sum, three.loss.sum);
    EXPECT_EQ(one.gradients, three.gradients);
  }
}

// bf16 rounds what ranks exchange as it rounds what stays: both ways are as near fp32.
TEST(RowRanks, ComputeInBf16) {
  const ReformerConfig config = RowConfig();
  const RandomBatch data(1, kWholeChunks, 31, 8);
  Way way;
  way.compute = DType::kBF16;
  ExpectSame(config, data.batch, way, 2e-2);
  way.compute = DType::kF32;
  way.gradient_streams = DType::kBF16;
  Context context(1);
  const Step exact = RunStep(context, config, data.batch, {});
  EXPECT_LT(Distance(RunOnRanks(2, config, data.batch, way).gradients, exact.gradients), 2e-2);
}

// Streams that leave the finest grid on one rank leave it on all of them.
TEST(RowRanks, AgreeOnTheGrid) {
  ReformerConfig config = RowConfig();
  config.layers.assign(4, LayerKind::kLocal);
  config.initializer_range = 0.1;
  RandomBatch data(1, 64, 30, 8);
  for (std::size_t t = 0; t < data.ids.size(); ++t) data.ids[t] = t == 60 ? 30 : data.ids[t] % 30;
  std::vector<std::vector<double>> all(2);
  std::mutex mutex;
  const auto step = [&](Context& context, std::vector<double>& sum) {
    Reformer model(config);
    model.Initialise(3);
    model.parameters().AllocateGradients();
    const View<float, 2> words =
        model.parameters().Write().matrix("reformer.embeddings.word_embeddings.weight");
    for (idx_t c = 0; c < words.extent[1]; ++c) words(30, c) *= 3000.0f;  // token 60 alone
    model.LossAndGradients(context, data.batch, 0.01f, {false, 7});
    const std::vector<float> gradients = Copied(model.parameters().gradients());
    const std::lock_guard lock(mutex);
    sum.resize(gradients.size());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += gradients[i];
  };
  Context alone(1);
  step(alone, all[0]);
  OnRanks(2, [&](World& world) {
    RowGroup group(world, 2);
    Context context(1);
    context.SplitRows(&group);
    step(context, all[1]);
  });
  EXPECT_LT(Distance(all[1], all[0]), 1e-3);  // steps of 2^-16
}

TEST(RowRanks, HaveHeadsOfTokensAndTexts) {
  ReformerConfig config = RowConfig();
  config.is_decoder = false;
  config.hidden_dropout = 0.1;
  config.labels = {"a", "b", "c"};
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kQuestion}) {
    SCOPED_TRACE(ReformerClass(head));
    config.head = head;
    RandomBatch data(3, 21, 31, 8);
    const std::vector<std::int32_t> labels = {2, 0, 1};
    if (head == HeadKind::kSequence) data.batch.labels = labels;
    const std::vector<std::int32_t> starts = {3, 0, 12}, ends = {5, 20, 14};
    if (head == HeadKind::kQuestion) data.batch.starts = starts;
    if (head == HeadKind::kQuestion) data.batch.ends = ends;
    Way way;
    way.dropout = {true, 7};
    ExpectSame(config, data.batch, way);
  }
}

// Rows of several lengths run in groups of equal ones, and each group is shared.
TEST(RowRanks, GetTheLogitsOfAllTexts) {
  ReformerConfig config = RowConfig();
  config.is_decoder = false;
  config.labels = {"a", "b", "c"};
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence}) {
    SCOPED_TRACE(ReformerClass(head));
    config.head = head;
    const RandomBatch data(3, 24, 31, 8);
    std::vector<std::uint8_t> roles(72, kLocalToken);
    std::fill(roles.begin() + 24 + 13, roles.begin() + 48, kHiddenToken);  // row 1 has 13 tokens
    BatchView batch = data.batch;
    batch.roles = KeyMask(roles.data(), {3, 24});
    const auto logits_of = [&](Context& context) {
      const auto model = MakeTextModel(Initialised(config));
      const Tensor logits = model->LogitsOfTexts(context, batch);
      return std::vector<float>(logits.data<float>(), logits.data<float>() + logits.size());
    };
    Context alone(1);
    std::vector<float> expected = logits_of(alone);
    if (head == HeadKind::kMaskedLm) {  // hidden tokens have no logits that anybody reads
      std::fill(expected.begin() + (24 + 13) * 31, expected.begin() + 48 * 31, 0.0f);
    }
    OnRanks(2, [&](World& world) {
      RowGroup group(world, 2);
      Context context(1);
      context.SplitRows(&group);
      EXPECT_MATCHES(Span(logits_of(context)), Span(expected), (test::Tolerance{1e-5, 1e-5}));
    });
  }
}

TEST(RowRanks, PlanAndSaveAlike) {
  ReformerConfig config = RowConfig();
  StepPolicy policy;
  const StepNeeds one = RehearseStep(*MakeModelConfig(config), 1, 128, 1, policy);
  policy.row_ranks = 2;
  const StepNeeds two = RehearseStep(*MakeModelConfig(config), 1, 128, 1, policy);
  EXPECT_EQ(two.memory.streams * 2, one.memory.streams);
  EXPECT_LT(two.memory.buckets, one.memory.buckets);  // of three heads instead of five
  EXPECT_EQ(InfoOf(config).most_row_ranks, 5);
  // The rank that may save least decides.
  std::array<std::size_t, 2> saved{};
  OnRanks(2, [&](World& world) {
    RowGroup group(world, 2);
    const auto model = MakeTextModel(Reformer(config));
    StepPolicy own = policy;
    own.keep = world.rank() == 0 ? 10'000'000 : 60'000;
    model->Follow(own);
    model->AgreeOnSteps(group);
    saved[static_cast<std::size_t>(world.rank())] = model->MemoryOfStep(1, 128).activations;
  });
  EXPECT_EQ(saved[0], saved[1]);
  EXPECT_LE(saved[0], 60'000u);
  EXPECT_GT(saved[0], 0u);
}

TEST(RowRanks, RefuseWhatTheyCannotShare) {
  const auto refused = [](int ranks, const ReformerConfig& config, const ReformerBatch& batch,
                          std::string_view says) {
    EXPECT_TRUE(Throws([&] { RunOnRanks(ranks, config, batch, {}); }, ErrorCode::kUsage, says))
        << says;
  };
  ReformerConfig config = RowConfig();
  RandomBatch data(1, 40, 31, 8);
  config.heads = 3;
  refused(4, config, data.batch, "4 ranks share the 3 heads");
  std::vector<std::int32_t> positions(40, 1);
  data.batch.positions = positions;
  refused(2, config, data.batch, "give no positions");
  data.batch.positions = {};
}

// A rank's memory falls with their number: of the streams exactly, of attention to that of its
// heads.
TEST(RowRanks, MemoryFallsWithTheirNumber) {
  ReformerConfig config = RowConfig();
  config.layers = {LayerKind::kLocal, LayerKind::kLsh};
  config.hidden_size = 512;
  config.heads = 8;
  config.head_size = 64;
  config.feed_forward_size = 512;
  config.lsh_chunk = config.local_chunk = 64;
  config.max_positions = 65536;
  config.axial_shape = {256, 256};
  config.axial_dims = {128, 384};
  const auto peak = [&](int ranks) {
    RowGroup group(0, ranks);
    Context context = Context::Rehearsal(1);
    if (ranks > 1) context.SplitRows(&group);
    Reformer model(config, ParameterMemory::kBorrowed);
    // Weights are addresses: what is not written costs nothing.
    Arena given(Arena::Pages::kReserved);
    const idx_t extent = model.parameters().extent();
    Arena::Frame frame(given, 2 * Arena::Bytes<float>(extent));
    float* weights = frame.Take<float>(extent);
    model.parameters().Borrow(weights, frame.Take<float>(extent));
    const std::vector<std::int32_t> ids(65536, 1);
    ReformerBatch batch;
    batch.rows = 1;
    batch.tokens = 65536;
    batch.ids = batch.labels = ids;
    model.LossAndGradients(context, batch, 0.01f, {true, 7});
    return static_cast<double>(context.arena().peak() + model.StateBytes());
  };
  const double one = peak(1);
  EXPECT_LT(peak(2), 0.6 * one);
  EXPECT_LT(peak(4), 0.35 * one);
}

}  // namespace
}  // namespace longspan
