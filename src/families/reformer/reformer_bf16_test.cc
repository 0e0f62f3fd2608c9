// A Reformer that computes in bf16, and what its layers keep of a forward pass.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "families/reformer/reformer_test.h"
#include "longspan/error.h"
#include "ops/adamw/adamw.h"
#include "tests/support/compare.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

// A local and an LSH layer. With one bucket nothing hashes differently in another precision.
ReformerConfig Config(std::vector<idx_t> buckets = {2}) {
  ReformerConfig config = SmallConfig();
  config.layers = {LayerKind::kLocal, LayerKind::kLsh};
  config.lsh_chunk = 8;
  config.num_hashes = 2;
  config.num_buckets = std::move(buckets);
  config.initializer_range = 0.15;
  return config;
}

struct StepResult {
  double loss = 0.0;
  std::vector<float> gradients;
};

StepResult RunStep(Context& context, Reformer& model, const ReformerBatch& batch,
                   const StepDropout& dropout = {}) {
  model.parameters().AllocateGradients();
  const float scale = 1.0f / static_cast<float>(batch.rows * batch.tokens);
  StepResult result;
  result.loss = model.LossAndGradients(context, batch, scale, dropout).sum /
                static_cast<double>(batch.rows * batch.tokens);
  result.gradients = Copied(model.parameters().gradients());
  return result;
}

Reformer ModelIn(const ReformerConfig& config, DType dtype) {
  Reformer model(config);
  model.Initialise(3);
  model.ComputeIn(dtype);
  return model;
}

// Distance over length.
double RelativeError(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0.0, length = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    difference += (x - y) * (x - y);
    length += y * y;
  }
  return std::sqrt(difference / length);
}

// Rounding once has a relative error of 2^-9 at most; a dozen roundings lie between the
// embeddings and the loss, some more on the way back.
TEST(ReformerBf16, LossAndGradientsAreNearFp32) {
  for (const AttentionChoice choice :
       {AttentionChoice::kConfigured, AttentionChoice::kLocal, AttentionChoice::kFull}) {
    ReformerConfig config = Config();
    config.attention = choice;
    const RandomBatch data(2, 50, config.vocab_size, 8);
    Context context(2);
    Reformer floats = ModelIn(config, DType::kF32), rounded = ModelIn(config, DType::kBF16);
    EXPECT_EQ(rounded.computes_in(), DType::kBF16);
    const StepResult f = RunStep(context, floats, data.batch);
    const StepResult h = RunStep(context, rounded, data.batch);
    EXPECT_NEAR(h.loss, f.loss, 0.005 * f.loss) << AttentionName(choice);
    EXPECT_LT(RelativeError(h.gradients, f.gradients), 0.03) << AttentionName(choice);
    EXPECT_GT(RelativeError(h.gradients, f.gradients), 1e-5);  // it does round
    // Every parameter: a matrix whose gradient went lost would hide in the length of all.
    for (const ParameterInfo& info : floats.parameters().list()) {
      const auto first = static_cast<std::ptrdiff_t>(info.offset);
      const auto last = first + static_cast<std::ptrdiff_t>(info.size);
      const std::vector<float> of_h(h.gradients.begin() + first, h.gradients.begin() + last);
      const std::vector<float> of_f(f.gradients.begin() + first, f.gradients.begin() + last);
      EXPECT_LT(RelativeError(of_h, of_f), 0.08) << info.name;
    }
  }
}

TEST(ReformerBf16, SameBitsForAnyThreads) {
  const ReformerConfig config = Config({4});
  const RandomBatch data(3, 100, config.vocab_size, 8);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    Reformer model = ModelIn(config, DType::kBF16);
    StepResult result = RunStep(context, model, data.batch, {true, 123});
    result.gradients.push_back(static_cast<float>(result.loss));
    return result.gradients;
  });
}

// To rounding: evaluation adds in fp32, training on a grid.
TEST(ReformerBf16, TrainingWithoutDropoutSeesTheEvaluationsLoss) {
  Context context(2);
  const RandomBatch data(2, 50, 31, 4);
  Reformer model = ModelIn(Config({4}), DType::kBF16);
  const StepResult step = RunStep(context, model, data.batch);
  EXPECT_NEAR(model.Loss(context, data.batch).sum / 100.0, step.loss, 1e-6 * step.loss);
}

TEST(ReformerBf16, WeightsAreRoundedOnceAfterEachWrite) {
  Context context(1);
  const RandomBatch data(1, 20, 31, 4);
  Reformer model = ModelIn(Config(), DType::kBF16);
  const auto rounded = [&] { return model.bf16_weights()->rounded(); };
  const double loss = model.Loss(context, data.batch).sum;
  const std::uint64_t once = rounded();
  EXPECT_GT(once, 0u);
  EXPECT_EQ(model.Loss(context, data.batch).sum, loss);
  RunStep(context, model, data.batch);
  EXPECT_EQ(rounded(), once);  // no pass writes
  model.parameters().Write();
  model.Loss(context, data.batch);
  EXPECT_EQ(rounded(), 2 * once);
}

TEST(ReformerBf16, CopiesFollowTheParameters) {
  Context context(1);
  const RandomBatch data(1, 20, 31, 4);
  Reformer model = ModelIn(Config(), DType::kBF16);
  const double before = model.Loss(context, data.batch).sum;
  for (float& x : std::span(model.parameters().Write().values().data,
                            static_cast<std::size_t>(model.parameters().values().size()))) {
    x *= 1.5f;
  }
  EXPECT_NE(model.Loss(context, data.batch).sum, before);
  model.ComputeIn(DType::kF32);
  EXPECT_EQ(model.CopiedBytes(), 0u);
  EXPECT_THROW(model.ComputeIn(DType::kF16), Error);
}

// The loss on a text that repeats itself, after some updates.
double LearnedLoss(DType dtype, idx_t steps) {
  Context context(2);
  Reformer model = ModelIn(Config({4}), dtype);
  model.parameters().AllocateGradients();
  const idx_t extent = model.parameters().extent();
  Tensor first({extent}), second({extent});
  RandomBatch data(2, 64, 31, 4);
  for (std::size_t i = 0; i < data.ids.size(); ++i) {
    data.ids[i] = static_cast<std::int32_t>(i % 5 + i / 64);
    data.targets[i] = static_cast<std::int32_t>((i + 1) % 5 + i / 64);
  }
  double loss = 0.0;
  for (idx_t step = 1; step <= steps; ++step) {
    loss = model
               .LossAndGradients(context, data.batch, 1.0f / 128.0f,
                                 {true, static_cast<std::uint64_t>(step)})
               .sum /
           128.0;
    AdamWSpec spec;
    spec.step = step;
    spec.learning_rate = 3e-3f;
    AdamWStep(context, spec, model.parameters().Write().values(), model.parameters().gradients(),
              first.view<1>(), second.view<1>());
    std::fill_n(model.parameters().gradients().data, extent, 0.0f);
  }
  return loss;
}

TEST(ReformerBf16, LearnsAsFp32Does) {
  const double start = LearnedLoss(DType::kF32, 1);
  const double floats = LearnedLoss(DType::kF32, 60), rounded = LearnedLoss(DType::kBF16, 60);
  EXPECT_LT(floats, 0.2 * start);
  EXPECT_NEAR(rounded, floats, 0.02 * start);
}

// ---- activations --------------------------------------------------------------------------------

// What is computed again comes from streams that were added to and taken away from: rounding is all
// that differs. (Layer by layer no bit does: AttentionLayer.WhatIsKeptChangesNoBit.)
TEST(ReformerMemory, WhatIsKeptChangesNothingButRounding) {
  ReformerConfig config = Config({4});
  config.layers = {LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLocal};
  config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.2;
  const RandomBatch data(2, 70, config.vocab_size, 8);
  Context context(2);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Reformer again = ModelIn(config, dtype);
    const StepResult wanted = RunStep(context, again, data.batch, {true, 5});
    EXPECT_EQ(again.ActivationBytes(2, 70), 0u);
    Reformer whole = ModelIn(config, dtype);
    whole.KeepUpTo(std::numeric_limits<std::size_t>::max());
    const std::size_t all = whole.ActivationBytes(2, 70);
    ASSERT_GT(all, 0u);
    std::size_t before = 0;
    for (const std::size_t limit :
         {all / 3, all - 1, all, std::numeric_limits<std::size_t>::max()}) {
      Reformer kept = ModelIn(config, dtype);
      kept.KeepUpTo(limit);
      EXPECT_LE(kept.ActivationBytes(2, 70), limit);
      EXPECT_GE(kept.ActivationBytes(2, 70), before);
      before = kept.ActivationBytes(2, 70);
      for (int step = 0; step < 2; ++step) {  // the second finds what the first left
        kept.parameters().AllocateGradients();
        std::fill_n(kept.parameters().gradients().data, kept.parameters().extent(), 0.0f);
        const StepResult got = RunStep(context, kept, data.batch, {true, 5});
        EXPECT_SAME_BITS(got.gradients, wanted.gradients);
        EXPECT_EQ(got.loss, wanted.loss);
      }
    }
    EXPECT_EQ(before, all);
  }
}

TEST(ReformerMemory, AShorterStepAfterALongerOne) {
  const ReformerConfig config = Config({4});
  Context context(2);
  Reformer kept = ModelIn(config, DType::kF32), again = ModelIn(config, DType::kF32);
  kept.KeepUpTo(std::numeric_limits<std::size_t>::max());
  for (const idx_t tokens : {40, 90, 20}) {
    const RandomBatch data(1, tokens, config.vocab_size, 8);
    for (Reformer* model : {&kept, &again}) {
      model->parameters().AllocateGradients();
      std::fill_n(model->parameters().gradients().data, model->parameters().extent(), 0.0f);
    }
    EXPECT_SAME_BITS(RunStep(context, kept, data.batch).gradients,
                     RunStep(context, again, data.batch).gradients);
  }
}

// Streams that the finest grid has no room for lie on a coarser one, and are as exact.
TEST(ReformerMemory, LargeStreamsAreExactToo) {
  const ReformerConfig config = Config({6});
  const RandomBatch data(2, 70, config.vocab_size, 8);
  Context context(2);
  for (const float scale : {1.0f, 1e3f, 1e6f}) {
    StepResult results[2];
    for (const int keeps : {0, 1}) {
      Reformer model = ModelIn(config, DType::kF32);
      for (const ParameterInfo& info : model.parameters().list()) {
        if (info.kind != ParameterKind::kEmbedding && info.kind != ParameterKind::kPosition)
          continue;
        const View<float, 1> table = model.parameters().Write().vector(info.name);
        for (idx_t i = 0; i < table.size(); ++i) table.data[i] *= scale;
      }
      if (keeps == 1) model.KeepUpTo(std::numeric_limits<std::size_t>::max());
      results[keeps] = RunStep(context, model, data.batch, {true, 5});
    }
    EXPECT_TRUE(std::isfinite(results[0].loss));
    EXPECT_SAME_BITS(results[0].gradients, results[1].gradients);
  }
}

// What no grid holds computes as fp32 does: here a loss that is no number.
TEST(ReformerMemory, NaNStaysNaN) {
  const ReformerConfig config = Config({6});
  const RandomBatch data(2, 70, config.vocab_size, 8);
  Context context(2);
  Reformer model = ModelIn(config, DType::kF32);
  model.parameters().Write().matrix("reformer.embeddings.word_embeddings.weight")(
      data.batch.ids[3], 1) = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(RunStep(context, model, data.batch).loss));
}

// bf16 streams of gradients: near the gradients of fp32 ones, and unbiased: the mean over many keys
// of the chance is far nearer than a single step.
TEST(ReformerMemory, GradientStreamsInBf16) {
  ReformerConfig config = Config();
  config.attention = AttentionChoice::kLocal;  // rotations are drawn from the key as well
  const RandomBatch data(2, 70, config.vocab_size, 8);
  Context context(2);
  Reformer exact = ModelIn(config, DType::kF32), half = ModelIn(config, DType::kF32);
  half.GradientStreamsIn(DType::kBF16);
  const std::vector<float> wanted = RunStep(context, exact, data.batch).gradients;
  std::vector<float> mean(wanted.size(), 0.0f);
  double single = 0.0;
  constexpr int kKeys = 32;
  for (std::uint64_t key = 0; key < kKeys; ++key) {
    half.parameters().AllocateGradients();
    std::fill_n(half.parameters().gradients().data, half.parameters().extent(), 0.0f);
    const StepResult got = RunStep(context, half, data.batch, {false, key + 1});
    single = std::max(single, RelativeError(got.gradients, wanted));
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += got.gradients[i] / kKeys;
  }
  EXPECT_GT(single, 1e-4);
  EXPECT_LT(single, 2e-2);
  EXPECT_LT(RelativeError(mean, wanted), 0.4 * single);
  EXPECT_EQ(Reformer::StreamBytes(config, 2, 4096, DType::kBF16) * 4,
            Reformer::StreamBytes(config, 2, 4096) * 3);
}

}  // namespace
}  // namespace longspan
