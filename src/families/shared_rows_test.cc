// Encoders whose rows several ranks share: loss, gradients and logits are those of one rank, for
// lengths that do not divide, windows wider than a slab, hidden and global tokens anywhere, and
// documents side by side.
#include "tests/support/shared_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "families/bert/family.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_test.h"
#include "families/modernbert/family.h"
#include "families/modernbert/modernbert_test.h"
#include "model/model_config.h"
#include "model/post_norm_test.h"
#include "model/step_memory.h"
#include "tests/support/files.h"
#include "tests/support/late_values.h"

namespace longspan {
namespace {

using test::ExpectSameStep;
using test::NaiveErrors;
using test::OnRanks;
using test::SharedStep;
using test::StepResult;

enum class Encoder { kLongformer, kBert, kModernBert };
constexpr Encoder kEncoders[] = {Encoder::kLongformer, Encoder::kBert, Encoder::kModernBert};
constexpr HeadKind kSharedHeads[] = {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kToken,
                                     HeadKind::kQuestion, HeadKind::kChoice};

// Dropout at every site, five heads: the ranks of two and of four do not divide them.
std::unique_ptr<ModelConfig> SharedConfig(Encoder encoder, HeadKind head) {
  const auto sized = [](auto config) {
    config.heads = 5;
    config.hidden_size = 20;
    return MakeModelConfig(std::move(config));
  };
  switch (encoder) {
    case Encoder::kLongformer: {
      LongformerConfig config = WithDropout(head);
      config.attention_window = {4, 64};  // within a slab, and wider than any
      return sized(std::move(config));
    }
    case Encoder::kBert: {
      BertConfig config = BertPreset(BertTypeNamed("roberta", "test"), "tiny");
      static_cast<PostNormFields&>(config) = WithDropout(head);
      config.positions_by_id = true;
      config.layer_count = 2;
      return sized(std::move(config));
    }
    case Encoder::kModernBert:
      break;
  }
  return sized(WithModernDropout(head));
}

// A step of a model that each call makes anew, with the same weights; nudged ones unless `nudge` is
// 0.
StepResult StepOf(Context& context, const ModelConfig& config, const BatchView& batch,
                  const StepPolicy& policy = {}, std::uint64_t nudge = 0) {
  const auto model = config.Make(ParameterMemory::kOwn);
  model->Follow(policy);
  model->Initialise(3);
  Perturb(*model, 50, 0.3f);
  if (nudge > 0) test::Nudge(model->parameters(), batch.rows * batch.tokens, nudge);
  model->parameters().AllocateGradients();
  StepResult result;
  const test::LateValues late(model->parameters());
  result.loss = model->LossAndGradients(context, batch, 0.125f, {true, 11}).sum;
  const View<float, 1> gradients = model->parameters().gradients();
  result.gradients.assign(gradients.data, gradients.data + gradients.size());
  return result;
}

std::vector<StepResult> NudgedSteps(Context& context, const ModelConfig& config,
                                    const BatchView& batch, const StepPolicy& policy = {}) {
  std::vector<StepResult> steps;
  for (const std::uint64_t nudge : {1, 2, 3, 4}) {
    steps.push_back(StepOf(context, config, batch, policy, nudge));
  }
  return steps;
}

void CheckShared(const ModelConfig& config, const BatchView& batch,
                 const std::vector<int>& groups = {2, 4}, const StepPolicy& policy = {}) {
  Context context(2);
  const StepResult one = StepOf(context, config, batch, policy);
  const std::vector<StepResult> nudged = NudgedSteps(context, config, batch, policy);
  const auto model = config.Make(ParameterMemory::kOwn);
  for (const int ranks : groups) {
    SCOPED_TRACE(fmt::format("{} ranks", ranks));
    const StepResult shared =
        SharedStep(ranks, [&](Context& own) { return StepOf(own, config, batch, policy); });
    ExpectSameStep(model->parameters(), one, shared, nudged, batch.rows * batch.tokens);
  }
}

class SharedRowsTest : public testing::TestWithParam<Encoder> {};
INSTANTIATE_TEST_SUITE_P(Encoders, SharedRowsTest, testing::ValuesIn(kEncoders));

// Batches of the fields that all three have: padding on either side, holes, globals, rows that a
// slab ends in.
TEST_P(SharedRowsTest, StepsOfAllHeadsAreThoseOfOneRank) {
  for (const HeadKind head : kSharedHeads) {
    const PostNormFields fields = WithDropout(head);
    for (const std::uint64_t seed : {1, 2, 3}) {
      SCOPED_TRACE(fmt::format("head {}, seed {}", static_cast<int>(head), seed));
      const idx_t rows = (head == HeadKind::kChoice ? 2 : 1) * static_cast<idx_t>(1 + seed % 2);
      const PostNormData data(fields, rows, 29 + 2 * static_cast<idx_t>(seed), seed);
      CheckShared(*SharedConfig(GetParam(), head), data.batch);
    }
  }
}

// Batches of fewer tokens than ranks: some ranks have none.
TEST_P(SharedRowsTest, RanksWithoutTokens) {
  for (const HeadKind head : kSharedHeads) {
    for (const idx_t tokens : {1, 2, 3}) {
      SCOPED_TRACE(fmt::format("head {}, {} tokens", static_cast<int>(head), tokens));
      PostNormData data(WithDropout(head), head == HeadKind::kChoice ? 2 : 1, tokens, 3);
      for (std::uint8_t& role : data.roles) role = std::max(role, kLocalToken);
      for (std::int32_t& label : data.labels) label = std::max(label, 0);
      // Of a text of one token there is one answer, and nothing to learn.
      if (head == HeadKind::kQuestion && tokens == 1) continue;
      StepPolicy policy;
      policy.recompute = static_cast<std::size_t>(tokens % 2);
      policy.compute = tokens == 2 ? DType::kBF16 : DType::kF32;
      CheckShared(*SharedConfig(GetParam(), head), data.batch, {5}, policy);
    }
  }
}

// Documents of which slabs cut some.
TEST_P(SharedRowsTest, DocumentsSideBySide) {
  const std::vector<idx_t> documents = {3, 15, 1, 9, 10};
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kQuestion}) {
    SCOPED_TRACE(static_cast<int>(head));
    const PostNormFields fields = WithDropout(head);
    PostNormData data(fields, 2, 19, 8);
    BatchView batch = data.batch;
    batch.documents = documents;
    const std::vector<std::int32_t> classes = {0, 1, 2, 0, 1}, places = {1, 7, 0, 4, 9};
    if (head == HeadKind::kSequence) {
      batch.labels = classes;
      batch.values = {};
    }
    if (head == HeadKind::kQuestion) batch.starts = batch.ends = places;
    CheckShared(*SharedConfig(GetParam(), head), batch);
  }
}

// Windows exchange borders where no token is global: on 4 ranks those of one layer, whose windows
// are narrower than a slab, on 2 ranks of both. Rows and documents that slabs cut.
TEST_P(SharedRowsTest, WindowsWithoutGlobalTokens) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    for (const bool joined : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, joined {}", DTypeName(compute), joined));
      PostNormData data(WithDropout(HeadKind::kMaskedLm), 2, 35, 6);
      for (std::uint8_t& role : data.roles) role = std::min(role, kLocalToken);
      const std::vector<idx_t> documents = {6, 1, 28, 30, 5};
      if (joined) data.batch.documents = documents;
      StepPolicy policy;
      policy.compute = compute;
      policy.recompute = 1;
      CheckShared(*SharedConfig(GetParam(), HeadKind::kMaskedLm), data.batch, {2, 4}, policy);
    }
  }
}

// Global tokens that are few enough for windows to exchange borders: their keys go to all ranks,
// and each has a part of their rows. Some ranks and documents have none, and a slab cuts a
// document.
void CheckFewGlobals(Encoder encoder, const std::vector<std::size_t>& globals,
                     const std::vector<idx_t>& documents, DType compute,
                     const std::vector<int>& groups) {
  SCOPED_TRACE(fmt::format("{}, {} documents", DTypeName(compute), documents.size()));
  const bool joined = !documents.empty();
  PostNormData data(WithDropout(HeadKind::kMaskedLm), joined ? 2 : 1, joined ? 50 : 61, 6);
  for (std::uint8_t& role : data.roles) role = std::min(role, kLocalToken);
  for (const std::size_t token : globals) data.roles[token] = kGlobalToken;
  data.batch.documents = documents;
  StepPolicy policy;
  policy.compute = compute;
  CheckShared(*SharedConfig(encoder, HeadKind::kMaskedLm), data.batch, groups, policy);
}

TEST_P(SharedRowsTest, WindowsWithFewGlobalTokens) {
  const std::vector<idx_t> documents = {6, 1, 43, 45, 5};
  CheckFewGlobals(GetParam(), {0, 2}, {}, DType::kF32, {2, 4});
  CheckFewGlobals(GetParam(), {0, 2, 60}, documents, DType::kF32, {2, 4});
  // One rank projects the rows of so many too: of fewer the keys' bias has no gradient there, and
  // one of bf16's rounding here.
  CheckFewGlobals(GetParam(), {0, 9, 18, 27, 36, 45, 54}, {}, DType::kBF16, {2});
  CheckFewGlobals(GetParam(), {8, 14, 20, 26, 32, 38, 52, 58, 64, 70, 76, 82}, documents,
                  DType::kBF16, {2});
}

// What rounds to bf16 differently, a step with nudged weights rounds differently too.
TEST_P(SharedRowsTest, ProductsOfBf16) {
  StepPolicy policy;
  policy.compute = DType::kBF16;
  const PostNormData data(WithDropout(HeadKind::kMaskedLm), 2, 31, 4);
  CheckShared(*SharedConfig(GetParam(), HeadKind::kMaskedLm), data.batch, {2, 4}, policy);
}

TEST_P(SharedRowsTest, RecomputedLayers) {
  StepPolicy policy;
  policy.recompute = 1;
  const PostNormData data(WithDropout(HeadKind::kMaskedLm), 1, 37, 5);
  CheckShared(*SharedConfig(GetParam(), HeadKind::kMaskedLm), data.batch, {2}, policy);
}

// The bounds are worth something: one of 37 tokens that is lost, or counts twice, moves gradients
// by more than a hundredth, and that is outside tenfold.
TEST_P(SharedRowsTest, AHundredthOffIsNoticed) {
  const auto config = SharedConfig(GetParam(), HeadKind::kToken);
  const PostNormData data(WithDropout(HeadKind::kToken), 1, 37, 5);
  Context context(2);
  const StepResult one = StepOf(context, *config, data.batch);
  StepResult off = one;
  for (float& value : off.gradients) value *= 1.01f;
  const auto model = config->Make(ParameterMemory::kOwn);
  const std::vector<StepResult> nudged = NudgedSteps(context, *config, data.batch);
  EXPECT_GT(NaiveErrors(model->parameters(), one, off, nudged, 37), 20.0);
}

// The numbers of threads, of ranks that compute other rows, and of runs change nothing.
TEST_P(SharedRowsTest, TheSameBitsEachTime) {
  const auto config = SharedConfig(GetParam(), HeadKind::kMaskedLm);
  const PostNormData data(WithDropout(HeadKind::kMaskedLm), 1, 37, 5);
  std::vector<StepResult> steps;
  for (const int threads : {1, 3}) {
    steps.push_back(SharedStep(2, [&](Context& own) {
      Context context(threads);
      context.SplitRows(own.row_group());
      return StepOf(context, *config, data.batch);
    }));
  }
  EXPECT_EQ(steps[0].loss, steps[1].loss);
  EXPECT_EQ(steps[0].gradients, steps[1].gradients);
}

// Evaluations: all ranks get the loss and all logits.
TEST_P(SharedRowsTest, LossAndLogitsWithoutDropout) {
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kToken, HeadKind::kQuestion}) {
    SCOPED_TRACE(static_cast<int>(head));
    const auto config = SharedConfig(GetParam(), head);
    const PostNormData data(WithDropout(head), 2, 19, 6);
    const auto evaluate = [&](Context& context) {
      const auto model = config->Make(ParameterMemory::kOwn);
      model->Initialise(3);
      Perturb(*model, 50, 0.3f);
      const Tensor logits = model->LogitsOfTexts(context, data.batch);
      return StepResult{{logits.data<float>(), logits.data<float>() + logits.size()},
                        model->Loss(context, data.batch).mean};
    };
    Context context(2);
    const StepResult one = evaluate(context);
    OnRanks(2, [&](World& world) {
      Context own(1);
      RowGroup group(world, 2);
      own.SplitRows(&group);
      const StepResult shared = evaluate(own);
      EXPECT_NEAR(shared.loss, one.loss, 1e-6 * (1.0 + std::abs(one.loss)));
      ASSERT_EQ(shared.gradients.size(), one.gradients.size());
      for (std::size_t i = 0; i < one.gradients.size(); ++i) {
        EXPECT_NEAR(shared.gradients[i], one.gradients[i], 2e-5f) << i;
      }
    });
  }
}

// What a plan says is what a rank books, and sends: the one with the most. Borders of windows make
// ranks in the middle send more than the last one.
void CheckRehearsal(Encoder encoder, int ranks) {
  SCOPED_TRACE(fmt::format("{} ranks", ranks));
  const auto config = SharedConfig(encoder, HeadKind::kToken);
  StepPolicy policy;
  policy.row_ranks = ranks;
  constexpr idx_t kTokens = 37;
  const StepNeeds needs = RehearseStep(*config, 1, kTokens, 1, policy);
  PostNormData data(WithDropout(HeadKind::kToken), 1, kTokens, 5);
  const std::vector<std::uint8_t> roles = RolesFor(config->info(), 1, kTokens);
  data.batch.roles = {};
  if (!roles.empty()) data.batch.roles = {roles.data(), {1, kTokens}};
  std::vector<std::size_t> booked(static_cast<std::size_t>(ranks));
  std::vector<std::uint64_t> sent(booked.size());
  OnRanks(ranks, [&](World& world) {
    Context own(1);
    RowGroup group(world, ranks);
    own.SplitRows(&group);
    StepOf(own, *config, data.batch);
    booked[static_cast<std::size_t>(world.rank())] = own.arena().most_capacity();
    sent[static_cast<std::size_t>(world.rank())] = group.bytes_sent();
  });
  EXPECT_EQ(needs.memory.scratch, booked.back());
  for (const std::size_t bytes : booked) EXPECT_GE(needs.memory.scratch, bytes);
  EXPECT_GT(needs.row_bytes, 0u);
  const auto most = static_cast<std::int64_t>(*std::max_element(sent.begin(), sent.end()));
  const auto losses = static_cast<std::int64_t>(ranks - 1) * 100;
  EXPECT_LT(most, static_cast<std::int64_t>(needs.row_bytes) + losses)
      << "sums of losses are not rehearsed";
  if (ranks > 2) return;
  EXPECT_GT(static_cast<std::int64_t>(sent.back()) + losses,
            static_cast<std::int64_t>(needs.row_bytes));
}

TEST_P(SharedRowsTest, ARehearsalBooksWhatTheLastRankBooks) {
  CheckRehearsal(GetParam(), 2);
  CheckRehearsal(GetParam(), 4);
}

// Local layers of a Longformer send borders, whatever the length, and full layers all tokens.
TEST(SharedRows, NarrowWindowsSendLessThanWideOnes) {
  const auto sent = [](idx_t window, idx_t tokens) {
    LongformerConfig config = LongformerPreset("tiny");
    config.head = HeadKind::kMaskedLm;
    config.attention_window.assign(config.attention_window.size(), window);
    const auto model = MakeModelConfig(std::move(config));
    StepPolicy policy;
    policy.row_ranks = 2;
    return RehearseStep(*model, 1, tokens, 1, policy).row_bytes;
  };
  EXPECT_EQ(sent(16, 256), sent(16, 512));
  EXPECT_EQ(2 * sent(16, 256), sent(32, 256));
  EXPECT_EQ(2 * sent(512, 256), sent(1024, 512));
}

TEST_P(SharedRowsTest, MemoryFallsWithTheRanks) {
  const auto config = SharedConfig(GetParam(), HeadKind::kToken);
  const auto scratch = [&](int ranks) {
    StepPolicy policy;
    policy.row_ranks = ranks;
    return static_cast<double>(RehearseStep(*config, 1024, 60, 1, policy).memory.scratch);
  };
  EXPECT_LT(scratch(5), 0.35 * scratch(1));
}

// A step whose loss is over hidden states: all ranks get those of all tokens, with dropout and
// without, and each leaves the gradients of its own.
TEST_P(SharedRowsTest, StepsOverHiddenStates) {
  const auto config = SharedConfig(GetParam(), HeadKind::kNone);
  for (const std::uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(seed);
    const PostNormFields fields = WithDropout(HeadKind::kNone);
    const idx_t rows = seed == 2 ? 2 : 1, tokens = seed == 3 ? 3 : 31;
    const PostNormData data(fields, rows, tokens, seed);
    const BatchView& batch = data.batch;
    const idx_t n = batch.rows * batch.tokens, width = config->info().width;
    Tensor cotangent({n, width});
    Rng rng(seed);
    for (idx_t t = 0; t < n; ++t) {
      const bool hidden = !batch.roles.empty() && batch.roles.data[t] == kHiddenToken;
      for (idx_t c = 0; c < width; ++c) {
        const auto value = static_cast<float>(2.0 * rng.Uniform() - 1.0);
        cotangent.data<float>()[t * width + c] = hidden ? 0.0f : value;
      }
    }
    const auto weighed = [&](const Tensor& hidden) {
      double sum = 0.0;
      for (idx_t i = 0; i < hidden.size(); ++i) {
        sum += static_cast<double>(hidden.data<float>()[i]) *
               static_cast<double>(cotangent.data<float>()[i]);
      }
      return sum;
    };
    const auto step = [&](Context& context, std::uint64_t nudge) {
      const auto model = config->Make(ParameterMemory::kOwn);
      model->Initialise(3);
      Perturb(*model, 50, 0.3f);
      if (nudge > 0) test::Nudge(model->parameters(), n, nudge);
      model->parameters().AllocateGradients();
      Tensor states({n, width}), plain({n, width});
      model->EncodeInStep(context, batch, {true, 11}, states.view<2>());
      model->Encode(context, batch, plain.view<2>());
      model->EncodeGradients(context, batch, std::as_const(cotangent).view<2>(), {true, 11});
      const View<float, 1> gradients = model->parameters().gradients();
      return StepResult{{gradients.data, gradients.data + gradients.size()},
                        weighed(states) + 2.0 * weighed(plain)};
    };
    Context context(2);
    const StepResult one = step(context, 0);
    std::vector<StepResult> nudged;
    for (const std::uint64_t nudge : {1, 2, 3, 4}) nudged.push_back(step(context, nudge));
    const auto model = config->Make(ParameterMemory::kOwn);
    for (const int ranks : {2, 4}) {
      const StepResult shared = SharedStep(ranks, [&](Context& own) { return step(own, 0); });
      ExpectSameStep(model->parameters(), one, shared, nudged, n);
    }
  }
}

TEST_P(SharedRowsTest, MoreRanksThanHeadsAreRefusedAndVectorsAreNot) {
  const auto config = SharedConfig(GetParam(), HeadKind::kToken);
  StepPolicy policy;
  policy.row_ranks = 6;
  EXPECT_TRUE(test::Throws([&] { RehearseStep(*config, 1, 37, 1, policy); }, ErrorCode::kUsage,
                           "row-ranks: 6 ranks share the 5 heads of a layer"));
  policy.row_ranks = 2;
  const auto vectors = SharedConfig(GetParam(), HeadKind::kNone);
  EXPECT_GT(RehearseStep(*vectors, 1, 37, 1, policy).row_bytes, 0u);
}

}  // namespace
}  // namespace longspan
