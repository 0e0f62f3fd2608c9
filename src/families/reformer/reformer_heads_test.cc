// The heads of a Reformer: their logits and losses by hand, their gradients against differences.
#include "families/reformer/reformer_heads.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "base/errors.h"
#include "families/families.h"
#include "families/reformer/reformer.h"
#include "families/reformer/reformer_files.h"
#include "families/reformer/reformer_test.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Throws;

ReformerConfig HeadConfig(HeadKind head, bool decoder = false) {
  ReformerConfig c = MixedConfig();
  c.head = head;
  c.is_decoder = decoder;
  c.num_buckets = {2};
  c.classifier_dropout = 0.0;
  if (head == HeadKind::kSequence) c.labels = {"a", "b", "c"};
  return c;
}

// HeadTargets for every head.
struct HeadTargets {
  std::vector<std::int32_t> labels = {2, 0}, starts = {3, 20}, ends = {9, 21};
  std::vector<float> values = {0.5f, 1.0f, 0.0f, -0.25f, 0.75f, 1.5f};
};

ReformerBatch With(const ReformerBatch& batch, const HeadTargets& targets, bool classes) {
  ReformerBatch with = batch;
  with.labels = {};
  if (classes) {
    with.labels = targets.labels;
  } else {
    with.values = targets.values;
  }
  with.starts = targets.starts;
  with.ends = targets.ends;
  return with;
}

// LayerNorm(y1 ++ y2), (B*T, 2C).
Tensor LastHidden(Context& context, Reformer& model, const ReformerBatch& batch) {
  const idx_t n = batch.rows * batch.tokens, channels = model.config().hidden_size;
  Tensor y1({n, channels}), y2({n, channels}), h({n, 2 * channels});
  model.Encode(context, batch, y1.view<2>(), y2.view<2>());
  model.Normalise(context, y1.view<2>(), y2.view<2>(), h.view<2>());
  return h;
}

Tensor HeadLogits(Context& context, Reformer& model, const ReformerBatch& batch) {
  const idx_t n = batch.rows * batch.tokens, channels = model.config().hidden_size;
  Tensor y1({n, channels}), y2({n, channels});
  model.Encode(context, batch, y1.view<2>(), y2.view<2>());
  return model.HeadLogits(context, batch.rows, y1.view<2>(), y2.view<2>());
}

// y = w x + b in double, (rows of w).
std::vector<double> Affine(Reformer& model, const std::string& name, const std::vector<double>& x) {
  const View<const float, 2> w = model.parameters().matrix(name + "weight");
  const View<const float, 1> b = model.parameters().vector(name + "bias");
  std::vector<double> y;
  for (idx_t i = 0; i < w.extent[0]; ++i) {
    double sum = b(i);
    for (idx_t j = 0; j < w.extent[1]; ++j) {
      sum += static_cast<double>(w(i, j)) * x[static_cast<std::size_t>(j)];
    }
    y.push_back(sum);
  }
  return y;
}

std::vector<double> Row(const Tensor& h, idx_t row) {
  const float* data = h.data<float>() + row * h.shape()[1];
  return {data, data + h.shape()[1]};
}

double LogSumExp(const std::vector<double>& x) {
  double sum = 0.0;
  for (const double v : x) sum += std::exp(v);
  return std::log(sum);
}

// ---- logits and losses by hand ------------------------------------------------------------------

TEST(SequenceHead, IsTwoLayersOverTheFirstToken) {
  Context context(2);
  const RandomBatch data(2, 29, 31, 4);
  const HeadTargets targets;
  Reformer model = Initialised(HeadConfig(HeadKind::kSequence));
  const Tensor h = LastHidden(context, model, data.batch);
  const Tensor logits = HeadLogits(context, model, data.batch);
  EXPECT_EQ(logits.shape(), (std::vector<idx_t>{2, 3}));
  double classes = 0.0, squares = 0.0, sets = 0.0;
  for (idx_t b = 0; b < 2; ++b) {
    std::vector<double> u = Affine(model, "classifier.dense.", Row(h, b * 29));
    for (double& v : u) v = std::tanh(v);
    const std::vector<double> z = Affine(model, "classifier.out_proj.", u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(logits.data<float>()[b * 3 + static_cast<idx_t>(i)], z[i], 1e-5);
      const double value = targets.values[static_cast<std::size_t>(b) * 3 + i];
      squares += (z[i] - value) * (z[i] - value) / 6;
      sets += (std::log1p(std::exp(z[i])) - value * z[i]) / 6;
    }
    const auto label = static_cast<std::size_t>(targets.labels[static_cast<std::size_t>(b)]);
    classes += (LogSumExp(z) - z[label]) / 2;
  }
  EXPECT_NEAR(model.Loss(context, With(data.batch, targets, true)).mean, classes, 1e-5);
  EXPECT_NEAR(model.Loss(context, With(data.batch, targets, false)).mean, sets, 1e-5);
  ReformerConfig numbers = HeadConfig(HeadKind::kSequence);
  numbers.problem = ProblemType::kRegression;
  Reformer regression = Initialised(numbers);
  EXPECT_NEAR(regression.Loss(context, With(data.batch, targets, false)).mean, squares, 1e-5);
}

TEST(QuestionHead, AnswersCompeteWithinTheirRow) {
  Context context(2);
  const RandomBatch data(2, 29, 31, 4);
  HeadTargets targets;
  Reformer model = Initialised(HeadConfig(HeadKind::kQuestion));
  const Tensor h = LastHidden(context, model, data.batch);
  const Tensor logits = HeadLogits(context, model, data.batch);
  const auto loss = [&] {  // the mean over the places that count, of either side
    double sum = 0.0;
    for (const std::size_t side : {0, 1}) {
      double of_side = 0.0;
      int counted = 0;
      for (idx_t b = 0; b < 2; ++b) {
        const idx_t place =
            (side == 0 ? targets.starts : targets.ends)[static_cast<std::size_t>(b)];
        if (place >= 29) continue;
        std::vector<double> z;
        for (idx_t t = 0; t < 29; ++t) {
          z.push_back(Affine(model, "qa_outputs.", Row(h, b * 29 + t))[side]);
          EXPECT_NEAR(logits.data<float>()[(b * 29 + t) * 2 + static_cast<idx_t>(side)], z.back(),
                      1e-5);
        }
        of_side += LogSumExp(z) - z[static_cast<std::size_t>(std::max<idx_t>(0, place))];
        ++counted;
      }
      sum += 0.5 * of_side / counted;
    }
    return sum;
  };
  EXPECT_NEAR(model.Loss(context, With(data.batch, targets, true)).mean, loss(), 1e-5);
  targets.starts = {-4, 5};  // before the text: its first token
  targets.ends = {40, 28};   // behind it: ignored
  EXPECT_NEAR(model.Loss(context, With(data.batch, targets, true)).mean, loss(), 1e-5);
}

// Heads see the text in blocks of 4096 tokens: nothing may depend on where one ends.
TEST(QuestionHead, ALongTextIsReadInBlocks) {
  Context context(2);
  ReformerConfig config = HeadConfig(HeadKind::kQuestion);
  config.layers = {LayerKind::kLocal};
  config.max_positions = 8192;
  config.axial_shape = {64, 128};
  Reformer model = Initialised(config);
  const idx_t tokens = 2500;
  const RandomBatch data(2, tokens, 31, 4);
  HeadTargets targets;
  targets.starts = {3, 2400};
  targets.ends = {1800, 2499};
  const ReformerBatch batch = With(data.batch, targets, true);
  const Tensor h = LastHidden(context, model, batch);
  double sum = 0.0;
  for (idx_t b = 0; b < 2; ++b) {
    std::vector<double> starts, ends;
    for (idx_t t = 0; t < tokens; ++t) {
      const auto z = Affine(model, "qa_outputs.", Row(h, b * tokens + t));
      starts.push_back(z[0]);
      ends.push_back(z[1]);
    }
    const auto row = static_cast<std::size_t>(b);
    sum += 0.25 * (LogSumExp(starts) - starts[static_cast<std::size_t>(targets.starts[row])]);
    sum += 0.25 * (LogSumExp(ends) - ends[static_cast<std::size_t>(targets.ends[row])]);
  }
  EXPECT_NEAR(model.Loss(context, batch).mean, sum, 1e-4);
  model.parameters().AllocateGradients();
  EXPECT_NEAR(model.LossAndGradients(context, batch, std::nullopt, {}).mean, sum, 1e-4);
}

// ---- gradients ----------------------------------------------------------------------------------

void ExpectHeadSlope(ReformerConfig config, bool classes, idx_t counted,
                     const StepDropout& dropout = {}) {
  const RandomBatch data(2, 24, config.vocab_size, 6);
  const HeadTargets targets;
  SlopeCheck(config, dropout, With(data.batch, targets, classes), counted).ExpectAll();
}

TEST(HeadGradients, OfClassesMatchDifferences) {
  ExpectHeadSlope(HeadConfig(HeadKind::kSequence), true, 2);
  ExpectHeadSlope(HeadConfig(HeadKind::kSequence, true), true, 2);  // causal
}

TEST(HeadGradients, OfSetsAndNumbersMatchDifferences) {
  ReformerConfig config = HeadConfig(HeadKind::kSequence);
  for (const ProblemType problem : {ProblemType::kMultiLabel, ProblemType::kRegression}) {
    config.problem = problem;
    ExpectHeadSlope(config, false, 6);
  }
}

TEST(HeadGradients, OfAnswersMatchDifferences) {
  ExpectHeadSlope(HeadConfig(HeadKind::kQuestion), true, 2);
  ExpectHeadSlope(HeadConfig(HeadKind::kQuestion, true), true, 2);
}

TEST(HeadGradients, MatchDifferencesUnderDropoutEverywhere) {
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kQuestion}) {
    ReformerConfig config = HeadConfig(head);
    config.hidden_dropout = config.local_dropout = config.lsh_dropout = 0.2;
    config.classifier_dropout = 0.3;
    ExpectHeadSlope(config, true, 2, {true, 77});
  }
}

TEST(HeadGradients, SameBitsForAnyThreads) {
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kQuestion}) {
    ReformerConfig config = HeadConfig(head);
    config.hidden_dropout = 0.1;
    const RandomBatch data(2, 60, config.vocab_size, 8);
    const HeadTargets targets;
    test::ExpectSameBitsForAnyThreads([&](Context& context) {
      Reformer model(config);
      model.Initialise(9);
      model.parameters().AllocateGradients();
      const HeadLoss loss = model.LossAndGradients(context, With(data.batch, targets, true),
                                                   std::nullopt, {true, 123});
      std::vector<float> all = Copied(model.parameters().gradients());
      all.push_back(static_cast<float>(loss.sum));
      return all;
    });
  }
}

// Absent, the classifier's dropout is the hidden one; given, it is its own.
TEST(SequenceHead, HasADropoutOfItsOwn) {
  Context context(1);
  const RandomBatch data(2, 24, 31, 6);
  const HeadTargets targets;
  const auto loss = [&](double hidden, std::optional<double> classifier) {
    ReformerConfig config = HeadConfig(HeadKind::kSequence);
    config.hidden_dropout = hidden;
    config.classifier_dropout = classifier;
    Reformer model = Initialised(config);
    model.parameters().AllocateGradients();
    return model.LossAndGradients(context, With(data.batch, targets, true), std::nullopt, {true, 5})
        .mean;
  };
  EXPECT_EQ(loss(0.0, std::nullopt), loss(0.0, 0.0));
  EXPECT_NE(loss(0.0, 0.5), loss(0.0, 0.0));
  EXPECT_EQ(loss(0.3, std::nullopt), loss(0.3, 0.3));
  EXPECT_NE(loss(0.3, 0.0), loss(0.3, 0.3));
}

// ---- the bias of a language model ---------------------------------------------------------------

TEST(LanguageHead, TheBiasCountsUnlessItIsSwitchedOff) {
  Context context(2);
  const test::TempDir directory;
  const RandomBatch data(2, 20, 31, 4);
  Reformer with = Initialised(MixedConfig());
  const View<float, 1> bias = with.parameters().Write().vector("lm_head.bias");
  for (idx_t i = 0; i < bias.size(); ++i) bias(i) = 0.1f * static_cast<float>(i);
  SaveReformer(with, directory.path());
  LoadOptions options;
  options.family.Set("lm-bias", false);
  Reformer without = LoadReformer(OpenModelFolder(directory.path()), options);
  const Tensor a = HeadLogits(context, with, data.batch),
               b = HeadLogits(context, without, data.batch);
  for (idx_t i = 0; i < a.size(); ++i) {
    ASSERT_NEAR(a.data<float>()[i] - b.data<float>()[i], 0.1 * static_cast<double>(i % 31), 1e-4);
  }
  EXPECT_NE(with.Loss(context, data.batch).sum, without.Loss(context, data.batch).sum);
  for (Reformer* model : {&with, &without}) {
    model->parameters().AllocateGradients();
    model->LossAndGradients(context, data.batch, std::nullopt, {});
    double squares = 0.0;
    for (const float g : Copied(model->parameters().vector_gradient("lm_head.bias"))) {
      squares += static_cast<double>(g) * static_cast<double>(g);
    }
    EXPECT_EQ(squares > 0.0, model == &with);
  }
  // The choice is kept with the model, and so is the bias.
  SaveReformer(without, directory.path());
  Reformer again = LoadReformer(OpenModelFolder(directory.path()));
  EXPECT_FALSE(again.config().lm_bias);
  EXPECT_EQ(again.parameters().vector("lm_head.bias")(3), 0.3f);
}

// Files have it under two names; where these differ the decoder's is what was added to logits.
TEST(LanguageHead, OfTwoBiasesTheDecodersCounts) {
  const test::TempDir directory;
  Reformer model = Initialised(MixedConfig());
  model.parameters().Write().vector("lm_head.bias")(3) = 0.25f;
  SaveReformer(model, directory.path());
  const auto file = directory.path() / "model.safetensors";
  std::vector<io::TensorEntry> entries = WeightEntries(model);
  Tensor unused({model.config().vocab_size});
  int biases = 0;
  for (io::TensorEntry& entry : entries) {
    biases += entry.name == "lm_head.bias" || entry.name == "lm_head.decoder.bias" ? 1 : 0;
    if (entry.name == "lm_head.bias") entry.data = unused.data<float>();
  }
  ASSERT_EQ(biases, 2);
  io::WriteSafetensors(file, entries);
  std::vector<std::string> warnings;
  Reformer again = LoadReformer(OpenModelFolder(directory.path()), {}, &warnings);
  EXPECT_EQ(again.parameters().vector("lm_head.bias")(3), 0.25f);
  EXPECT_TRUE(warnings.empty());
}

// ---- what is refused ----------------------------------------------------------------------------

TEST(ReformerHeads, MissingTargetsAreNamed) {
  Context context(1);
  const RandomBatch data(2, 12, 31, 4);
  HeadTargets targets;
  Reformer classes = Initialised(HeadConfig(HeadKind::kSequence));
  Reformer answers = Initialised(HeadConfig(HeadKind::kQuestion));
  ReformerBatch unlabelled = data.batch;
  unlabelled.labels = {};
  EXPECT_TRUE(Throws([&] { classes.Loss(context, unlabelled); }, ErrorCode::kUsage, "0 values"));
  EXPECT_TRUE(Throws([&] { classes.Loss(context, data.batch); }, ErrorCode::kUsage,
                     "24 labels for 2 rows"));
  targets.labels = {3, 0};
  EXPECT_TRUE(Throws([&] { classes.Loss(context, With(data.batch, targets, true)); },
                     ErrorCode::kUsage, "label 3"));
  EXPECT_TRUE(
      Throws([&] { answers.Loss(context, data.batch); }, ErrorCode::kUsage, "start positions"));
  Tensor h({1, 48}), logits({1, 31});
  EXPECT_TRUE(Throws([&] { classes.Logits(context, h.view<2>(), logits.view<2>()); },
                     ErrorCode::kUsage, "ReformerForSequenceClassification"));
  ReformerConfig bare = MixedConfig();
  bare.head = HeadKind::kNone;
  Reformer none = Initialised(bare);
  EXPECT_TRUE(Throws([&] { none.Loss(context, data.batch); }, ErrorCode::kUsage, "no head"));
}

}  // namespace
}  // namespace longspan
