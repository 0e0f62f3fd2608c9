// Layers that hash, and the choice of who sees whom.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/errors.h"
#include "families/reformer/attention_layer.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_test.h"
#include "families/reformer/shared_mechanism.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

constexpr AttentionChoice kChoices[] = {AttentionChoice::kConfigured, AttentionChoice::kFull,
                                        AttentionChoice::kLocal};

ReformerConfig LshOnlyConfig() {
  ReformerConfig c = MixedConfig();
  c.layers.assign(2, LayerKind::kLsh);
  return c;
}

double StepLoss(Reformer& model, const ReformerBatch& batch, const StepDropout& step) {
  Context context(2);
  model.parameters().AllocateGradients();
  return model.LossAndGradients(context, batch, 1.0f, step).sum;
}

// What running in another order may cost.
constexpr test::Tolerance kRounding{2e-5, 2e-6};

// ---- gradients ----------------------------------------------------------------------------------

// Few tokens and buckets: where one changes its bucket the loss jumps and has no slope to compare.
ReformerConfig SmoothConfig() {
  ReformerConfig config = MixedConfig();
  config.num_buckets = {2};
  return config;
}

TEST(LshGradients, MatchDifferences) { ExpectSlope(SmoothConfig(), {}, 2, 21); }

TEST(LshGradients, MatchDifferencesUnderDropoutEverywhere) {
  ReformerConfig config = SmoothConfig();
  config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.2;
  ExpectSlope(config, {true, 77}, 2, 24);
}

TEST(LshGradients, MatchDifferencesInBothDirectionsWithMask) {
  ReformerConfig config = SmoothConfig();
  config.layers.pop_back();
  config.head = HeadKind::kMaskedLm;
  config.is_decoder = false;
  config.lsh_after = 1;
  config.num_buckets = {2, 2};
  config.lsh_dropout = config.hidden_dropout = 0.2;
  std::vector<std::uint8_t> mask(2 * 29, 1);
  for (const idx_t hidden : {3, 20, 28, 35, 56, 57}) mask[static_cast<std::size_t>(hidden)] = 0;
  ExpectSlope(config, {true, 5}, 2, 29, {mask.data(), {2, 29}});
}

TEST(LshGradients, MatchDifferencesWithEveryChoice) {
  for (const AttentionChoice choice : kChoices) {
    SCOPED_TRACE(AttentionName(choice));
    ReformerConfig config = SmoothConfig();
    config.attention = choice;
    config.local_dropout = config.lsh_dropout = 0.2;
    ExpectSlope(config, {true, 9}, 1, 29);
  }
}

// ---- one layer, there and back ------------------------------------------------------------------

// A layer with parameters, its streams, and one pass there and back.
class LayerPass {
 public:
  LayerPass(const ReformerConfig& config, LayerKind kind, idx_t tokens)
      : config_(config),
        n_(2 * tokens),
        layer_(MakeAttention(config, kind, "layer.", parameters_)),
        state_(layer_->mechanism().NewState()),
        call_{parameters_, nullptr, 2, tokens, {}} {
    parameters_.Allocate();
    parameters_.AllocateGradients();
    FillNormal(1, 0.3f, parameters_.Write().values().data, parameters_.values().size());
    x_ = test::RandomNormal(2, n_ * config.hidden_size);
    start_ = test::RandomNormal(3, n_ * config.hidden_size);
    dy_ = test::RandomNormal(4, n_ * config.hidden_size);
    call_.training = true;
    call_.dropout_key = 11;
    call_.key = 12;
    call_.state = state_.get();
  }

  void There() {
    y_ = start_;
    layer_->Add(context_, call_, Matrix<float>(x_), Matrix<float>(y_));
  }
  // Returns the parameters' gradients and dx.
  std::vector<float> Back() {
    std::vector<float> dx(x_.size(), 0.0f);
    std::fill_n(parameters_.gradients().data, parameters_.gradients().size(), 0.0f);
    layer_->Reverse(context_, call_, Matrix<float>(x_), Matrix<float>(y_), Matrix<float>(dy_),
                    Matrix<float>(dx));
    std::vector<float> all = Copied(parameters_.gradients());
    all.insert(all.end(), dx.begin(), dx.end());
    return all;
  }

  BranchCall& call() { return call_; }
  std::size_t SavedBytes() const { return layer_->SavedBytes(call_); }
  const std::vector<float>& start() const { return start_; }
  const std::vector<float>& y() const { return y_; }
  // Empty if the layer does not hash.
  std::vector<std::uint16_t> buckets() const {
    if (dynamic_cast<const LshMechanism*>(&layer_->mechanism()) == nullptr) return {};
    const auto buckets = LshMechanism::Buckets(*state_);
    return {buckets.begin(), buckets.end()};
  }

 private:
  template <class T, class V>
  View<T, 2> Matrix(V& values) const {
    return {values.data(), {n_, config_.hidden_size}};
  }

  Context context_{2};
  ReformerConfig config_;
  idx_t n_;
  ParameterTable parameters_;
  std::unique_ptr<AttentionLayer> layer_;
  std::unique_ptr<MechanismState> state_;
  BranchCall call_;
  std::vector<float> x_, start_, dy_, y_;
};

ReformerConfig DroppingConfig(AttentionChoice choice) {
  ReformerConfig config = MixedConfig();
  config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.5;
  config.attention = choice;
  return config;
}

// Half of everything is dropped: other masks on the way back would leave the stream far off.
TEST(AttentionLayer, TheWayBackSubtractsWhatTheWayThereAdded) {
  for (const AttentionChoice choice : kChoices) {
    for (const LayerKind kind : {LayerKind::kLocal, LayerKind::kLsh}) {
      for (const idx_t tokens : {1, 8, 9, 40, 43}) {
        LayerPass pass(DroppingConfig(choice), kind, tokens);
        pass.There();
        pass.Back();
        SCOPED_TRACE(testing::Message() << AttentionName(choice) << ", " << tokens << " tokens");
        EXPECT_MATCHES(Span(pass.y()), Span(pass.start()), (test::Tolerance{1e-5, 1e-6}));
      }
    }
  }
}

// Heads wide enough that a group holds two of them, and then the third.
ReformerConfig GroupsConfig(AttentionChoice choice) {
  ReformerConfig config = DroppingConfig(choice);
  config.head_size = 48;
  return config;
}

// Groups of heads draw the masks and hash with the rotations that the whole layer has.
TEST(AttentionLayer, GroupsOfHeadsAreTheWholeLayer) {
  for (const AttentionChoice choice : kChoices) {
    for (const LayerKind kind : {LayerKind::kLocal, LayerKind::kLsh}) {
      SCOPED_TRACE(AttentionName(choice));
      LayerPass whole(GroupsConfig(choice), kind, 43), groups(GroupsConfig(choice), kind, 43);
      groups.call().all_heads_bytes = 0;
      whole.There();
      groups.There();
      EXPECT_EQ(groups.buckets(), whole.buckets());
      EXPECT_MATCHES(Span(groups.y()), Span(whole.y()), (test::Tolerance{1e-5, 1e-6}));
      EXPECT_NE(groups.y(), whole.y()) << "another order of additions: were there groups?";
      const std::vector<float> gradients = whole.Back(), in_groups = groups.Back();
      EXPECT_MATCHES(Span(in_groups), Span(gradients), (test::Tolerance{1e-4, 1e-5}));
      EXPECT_MATCHES(Span(groups.y()), Span(groups.start()), (test::Tolerance{1e-5, 1e-6}));
    }
  }
}

TEST(AttentionLayer, WhatIsKeptChangesNoBit) {
  for (const AttentionChoice choice : kChoices) {
    for (const LayerKind kind : {LayerKind::kLocal, LayerKind::kLsh}) {
      for (const idx_t bytes_at_once : {idx_t{0}, idx_t{1} << 30}) {
        LayerPass again(GroupsConfig(choice), kind, 43), kept(GroupsConfig(choice), kind, 43);
        again.call().all_heads_bytes = kept.call().all_heads_bytes = bytes_at_once;
        const std::size_t bytes = kept.SavedBytes();
        std::vector<std::byte> memory(bytes + 64, std::byte{0xff});
        kept.call().saved =
            memory.data() + (64 - reinterpret_cast<std::size_t>(memory.data()) % 64);
        again.There();
        kept.There();
        EXPECT_SAME_BITS(Span(kept.y()), Span(again.y()));
        const std::vector<float> gradients = again.Back();
        EXPECT_SAME_BITS(Span(kept.Back()), Span(gradients));
        EXPECT_SAME_BITS(Span(kept.y()), Span(again.y()));
      }
    }
  }
}

TEST(AttentionLayer, TheWayBackHashesNothing) {
  LayerPass pass(DroppingConfig(AttentionChoice::kConfigured), LayerKind::kLsh, 40);
  pass.There();
  EXPECT_EQ(pass.buckets().size(), 2u * 3 * 2 * 40);  // (B, H, R, T)
  const std::vector<std::uint16_t> kept = pass.buckets();
  EXPECT_GT(std::set(kept.begin(), kept.end()).size(), 2u);
  const std::vector<float> gradients = pass.Back();
  pass.There();
  pass.call().key = 13;  // would give other buckets
  EXPECT_SAME_BITS(Span(pass.Back()), Span(gradients));
  EXPECT_EQ(pass.buckets(), kept);
  pass.There();  // hashes with the other rotations
  EXPECT_NE(pass.buckets(), kept);
}

// ---- the same whatever the way ------------------------------------------------------------------

TEST(ReformerLsh, SameBitsForAnyThreads) {
  ReformerConfig config = MixedConfig();
  config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.1;
  const RandomBatch data(3, 100, config.vocab_size, 8);
  for (const AttentionChoice choice : kChoices) {
    config.attention = choice;
    test::ExpectSameBitsForAnyThreads([&](Context& context) {
      Reformer model = Initialised(config);
      model.parameters().AllocateGradients();
      const HeadLoss loss = model.LossAndGradients(context, data.batch, 0.01f, {true, 123});
      std::vector<float> all = Copied(model.parameters().gradients());
      all.push_back(static_cast<float>(loss.sum));
      return all;
    });
  }
}

// To rounding: evaluation adds in fp32, training on a grid.
TEST(ReformerLsh, TrainingWithoutDropoutAndKeySeesTheEvaluationsLoss) {
  Context context(2);
  const RandomBatch data(2, 50, 31, 4);
  for (const AttentionChoice choice : kChoices) {
    ReformerConfig config = MixedConfig();
    config.attention = choice;
    Reformer model = Initialised(config);
    const double loss = model.Loss(context, data.batch).sum;
    EXPECT_NEAR(StepLoss(model, data.batch, {}), loss, 1e-7 * loss);
  }
}

TEST(ReformerLsh, AnyLengthRuns) {
  Reformer model = Initialised(MixedConfig());
  for (const idx_t tokens : {1, 2, 7, 8, 9, 15, 16, 17, 63, 100, 256, 8}) {
    const RandomBatch data(2, tokens, 31, 4);
    const double loss = StepLoss(model, data.batch, {true, 1});
    EXPECT_TRUE(std::isfinite(loss)) << tokens;
  }
}

// ---- random numbers -----------------------------------------------------------------------------

TEST(Rotations, FollowFromTheKeyOfTheStep) {
  const RandomBatch data(1, 100, 31, 4);
  Reformer model = Initialised(MixedConfig());
  const double first = StepLoss(model, data.batch, {false, 1});
  EXPECT_EQ(StepLoss(model, data.batch, {false, 1}), first);
  EXPECT_NE(StepLoss(model, data.batch, {false, 2}), first);
  ReformerConfig seeded = MixedConfig();
  seeded.hash_seed = 7;
  Reformer fixed = Initialised(seeded);
  EXPECT_EQ(StepLoss(fixed, data.batch, {false, 1}), StepLoss(fixed, data.batch, {false, 2}));
}

TEST(Rotations, EvaluationUsesTheSameEveryTime) {
  const RandomBatch data(1, 100, 31, 4);
  Reformer model = Initialised(MixedConfig());
  const auto before = Encoded(model, data.batch);
  StepLoss(model, data.batch, {true, 9});
  EXPECT_SAME_BITS(Span(Encoded(model, data.batch)), Span(before));
}

TEST(Rotations, LayersDrawTheirOwnUnlessThereIsASeed) {
  ReformerConfig config = MixedConfig();
  const auto drawn = [&](std::size_t layer) {
    const Tensor t = Reformer(config).Rotations(layer, SharedSpec(config, 100));
    return std::vector<float>(t.data<float>(), t.data<float>() + t.size());
  };
  EXPECT_NE(drawn(1), drawn(2));
  config.hash_seed = 20;
  EXPECT_EQ(drawn(1), drawn(2));
}

TEST(Rotations, GivenOnesReplaceThoseDrawn) {
  const RandomBatch data(1, 100, 31, 4);
  const ReformerConfig config = MixedConfig();
  Reformer model = Initialised(config), given = Initialised(config);
  const auto expected = Encoded(model, data.batch);
  for (const std::size_t layer : {1, 2}) {
    given.GiveRotations(layer, model.Rotations(layer, SharedSpec(config, 100)));
  }
  EXPECT_SAME_BITS(Span(Encoded(given, data.batch)), Span(expected));
  Tensor other({3, 8, 2, SharedSpec(config, 100).RotationColumns()});
  FillNormal(77, 1.0f, other.data<float>(), other.size());
  given.GiveRotations(1, std::move(other));
  EXPECT_NE(Encoded(given, data.batch), expected);
}

TEST(Rotations, BadOnesAreNamed) {
  Reformer model = Initialised(MixedConfig());
  EXPECT_THROW(model.GiveRotations(0, Tensor({3, 8, 2, 4})), Error);  // a local layer
  EXPECT_THROW(model.GiveRotations(3, Tensor({3, 8, 2, 4})), Error);
  model.GiveRotations(1, Tensor({3, 8, 2, 5}));
  const RandomBatch data(1, 100, 31, 4);
  try {
    Encoded(model, data.batch);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("rotations"), std::string::npos) << error.what();
  }
}

// ---- who sees whom ------------------------------------------------------------------------------

TEST(Choice, ATextOfOneChunkIsFullAttention) {
  for (const ReformerConfig& base : {LshOnlyConfig(), MixedConfig()}) {
    for (const idx_t tokens : {1, 5, 8}) {
      const RandomBatch data(2, tokens, 31, 4);
      std::vector<std::vector<float>> results;
      for (const AttentionChoice choice : kChoices) {
        ReformerConfig config = base;
        config.attention = choice;
        Reformer model = Initialised(config);
        results.push_back(Encoded(model, data.batch));
      }
      EXPECT_MATCHES(Span(results[1]), Span(results[0]), kRounding);
      EXPECT_SAME_BITS(Span(results[2]), Span(results[0]));  // the very same code
    }
  }
}

TEST(Choice, FullIsWhatOneLargeChunkSees) {
  const RandomBatch data(2, 61, 31, 4);
  ReformerConfig config = MixedConfig();
  config.attention = AttentionChoice::kFull;
  Reformer full = Initialised(config);
  config.attention = AttentionChoice::kConfigured;
  config.local_chunk = config.lsh_chunk = 61;
  Reformer chunk = Initialised(config);
  EXPECT_MATCHES(Span(Encoded(full, data.batch)), Span(Encoded(chunk, data.batch)), kRounding);
}

// Zero rotations put every token into bucket 0.
TEST(Choice, LocalIsOneRoundInOneBucket) {
  const RandomBatch data(2, 61, 31, 4);
  ReformerConfig config = MixedConfig();
  config.num_hashes = 1;
  config.num_buckets = {4};
  Reformer hashed = Initialised(config);
  for (const std::size_t layer : {1, 2}) hashed.GiveRotations(layer, Tensor({3, 8, 1, 2}));
  config.num_hashes = 5;
  config.attention = AttentionChoice::kLocal;
  Reformer local = Initialised(config);
  EXPECT_SAME_BITS(Span(Encoded(local, data.batch)), Span(Encoded(hashed, data.batch)));
}

TEST(Choice, ChangesWhoSeesWhomAndNoParameter) {
  const RandomBatch data(1, 100, 31, 4);
  std::vector<std::vector<float>> results;
  for (const AttentionChoice choice : kChoices) {
    ReformerConfig config = MixedConfig();
    config.attention = choice;
    Reformer model = Initialised(config);
    EXPECT_EQ(static_cast<std::uint64_t>(model.parameters().count()), ParameterCount(config));
    results.push_back(Encoded(model, data.batch));
  }
  EXPECT_NE(results[0], results[1]);
  EXPECT_NE(results[0], results[2]);
  EXPECT_NE(results[1], results[2]);
}

TEST(Choice, MoreRoundsComeCloserToFullAttention) {
  const RandomBatch data(1, 200, 31, 4);
  ReformerConfig config = LshOnlyConfig();
  config.is_decoder = false;
  config.head = HeadKind::kMaskedLm;
  config.attention = AttentionChoice::kFull;
  Reformer full = Initialised(config);
  const auto expected = Encoded(full, data.batch);
  const auto distance = [&](idx_t rounds) {
    config.attention = AttentionChoice::kConfigured;
    config.num_hashes = rounds;
    Reformer model = Initialised(config);
    return test::Compare(Span(Encoded(model, data.batch)), Span(expected), {}).rel_l2;
  };
  const double one = distance(1), eight = distance(8);
  EXPECT_GT(one, 1e-3);
  EXPECT_LT(eight, 0.8 * one);
}

TEST(Choice, WorkCountsThePairsThatAreSeen) {
  const auto gflop = [](AttentionChoice choice, idx_t rounds, idx_t tokens) {
    ReformerConfig config = LshOnlyConfig();
    config.layers = {config.layers[0]};
    config.attention = choice;
    config.num_hashes = rounds;
    return Reformer(config).ForwardGflop(1, tokens);
  };
  // Of one layer of 3 heads of 8: 4 flop for each pair and channel.
  const auto pairs = [&](AttentionChoice choice, idx_t rounds) {
    const double rest = gflop(AttentionChoice::kFull, 1, 1) - 4e-9 * 24;  // per token
    return (gflop(choice, rounds, 200) - 200 * rest) * 1e9 / (4 * 24);
  };
  EXPECT_NEAR(pairs(AttentionChoice::kFull, 1), 200 * 201 / 2, 1e-3);
  EXPECT_NEAR(pairs(AttentionChoice::kLocal, 2), 200 * 16, 1e-3);
  EXPECT_NEAR(pairs(AttentionChoice::kConfigured, 1), 200 * 16, 1e-3);
  EXPECT_NEAR(pairs(AttentionChoice::kConfigured, 3), 200 * 48, 1e-3);
}

}  // namespace
}  // namespace longspan
