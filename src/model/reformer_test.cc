// The model against recorded cases, finite differences and itself.
#include "model/reformer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/errors.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"
#include "model/model_files.h"
#include "model/parity.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(LONGSPAN_SOURCE_DIR) / "golden" / "reformer-local";

ReformerConfig SmallConfig() {
  ReformerConfig c;
  c.layers.assign(2, LayerKind::kLocal);
  c.vocab_size = 31;
  c.hidden_size = 24;
  c.heads = 3;
  c.head_size = 8;
  c.feed_forward_size = 40;
  c.activation = "gelu";
  c.is_decoder = true;
  c.max_positions = 256;
  c.axial_shape = {16, 16};
  c.axial_dims = {8, 16};
  c.local_chunk = 8;
  c.hidden_dropout = c.local_dropout = 0.0;
  c.initializer_range = 0.3;
  return c;
}

// A batch of random tokens that owns its memory.
struct RandomBatch {
  std::vector<std::int32_t> ids, targets;
  TokenBatch batch;
  RandomBatch(idx_t rows, idx_t tokens, idx_t vocabulary, std::uint64_t seed) {
    Rng rng(seed);
    for (idx_t i = 0; i < rows * tokens; ++i) {
      ids.push_back(static_cast<std::int32_t>(rng.Below(vocabulary)));
      targets.push_back(static_cast<std::int32_t>(rng.Below(vocabulary)));
    }
    batch = {rows, tokens, ids, targets, {}};
  }
};

std::vector<float> Copied(const View<float, 1>& view) {
  return {view.data, view.data + view.size()};
}

// ---- against recorded cases ---------------------------------------------------------------------

TEST(Parity, TheRecordedCaseHolds) {
  Context context(2);
  const ParityReport report = VerifyCase(context, kGolden, kGolden / "case.safetensors");
  EXPECT_TRUE(report.ok);
  EXPECT_GE(report.tensors.size(), 30u);
  for (const TensorParity& t : report.tensors) {
    EXPECT_TRUE(t.ok) << t.name << " max|diff| " << t.max_abs << " rel L2 " << t.rel_l2;
  }
}

// Each weight that has a gradient, one percent off, is noticed.
TEST(Parity, AnyTensorOnePercentOffIsNoticed) {
  Context context(2);
  const test::TempDir directory;
  const auto recorded = io::SafetensorsFile::Open(kGolden / "case.safetensors");
  for (const auto& [name, info] : recorded.tensors()) {
    if (name.rfind("grad.", 0) != 0) continue;
    Reformer model = LoadReformer(kGolden);
    const View<float, 1> weights = model.parameters().vector(name.substr(5));
    for (idx_t i = 0; i < weights.size(); ++i) weights(i) *= 1.01f;
    SaveReformer(model, directory.path());
    const ParityReport report = VerifyCase(context, directory.path(), kGolden / "case.safetensors");
    EXPECT_FALSE(report.ok) << name;
  }
}

TEST(Parity, ACaseThatAsksForMoreThanTheModelHasIsRefused) {
  Context context(1);
  const test::TempDir directory;
  const std::vector<std::int64_t> ids = {1, 2, 3, 4};
  const std::vector<float> one = {1.0f};
  io::WriteSafetensors(
      directory.path() / "case.safetensors",
      std::vector<io::TensorEntry>{{"input.input_ids", DType::kI64, {1, 4}, ids.data()},
                                   {"expected.pooler_output", DType::kF32, {1}, one.data()}});
  EXPECT_THROW(VerifyCase(context, kGolden, directory.path() / "case.safetensors"), Error);
}

// ---- gradients ----------------------------------------------------------------------------------

// The slope of the loss along a random direction of one tensor, by central differences, against
// the gradients' projection. fp32 losses leave about three digits.
void ExpectSlope(const ReformerConfig& config, const StepDropout& dropout, idx_t rows, idx_t tokens,
                 const KeyMask& mask = {}) {
  Context context(2);
  Reformer model(config);
  model.Initialise(5);
  model.parameters().AllocateGradients();
  RandomBatch data(rows, tokens, config.vocab_size, 6);
  data.batch.mask = mask;
  const float scale = 1.0f / static_cast<float>(rows * tokens);
  const auto loss = [&] {
    return model.LossAndGradients(context, data.batch, scale, dropout).sum * scale;
  };
  loss();
  const std::vector<float> gradient = Copied(model.parameters().gradients());
  std::uint64_t seed = 100;
  for (const ParameterInfo& info : model.parameters().list()) {
    const auto direction = test::RandomNormal(seed++, info.size);
    double projection = 0.0, norm = 0.0, slope_scale = 0.0;
    for (idx_t i = 0; i < info.size; ++i) {
      const double g = gradient[static_cast<std::size_t>(info.offset + i)];
      projection += g * direction[static_cast<std::size_t>(i)];
      norm += static_cast<double>(direction[static_cast<std::size_t>(i)]) *
              direction[static_cast<std::size_t>(i)];
      slope_scale += g * g;
    }
    const View<float, 1> weights = model.parameters().vector(info.name);
    const std::vector<float> before = Copied(weights);
    const float h = 0.02f / static_cast<float>(std::sqrt(norm));
    const auto at = [&](float step) {
      for (idx_t i = 0; i < info.size; ++i) {
        weights(i) =
            before[static_cast<std::size_t>(i)] + step * direction[static_cast<std::size_t>(i)];
      }
      return loss();
    };
    const double slope = (at(h) - at(-h)) / (2.0 * h);
    at(0.0f);
    EXPECT_NEAR(slope, projection, 0.02 * std::sqrt(slope_scale * norm) + 2e-4 * std::sqrt(norm))
        << info.name;
  }
}

TEST(Gradients, MatchDifferences) { ExpectSlope(SmallConfig(), {}, 2, 40); }

TEST(Gradients, MatchDifferencesUnderDropoutEverywhere) {
  ReformerConfig config = SmallConfig();
  config.hidden_dropout = config.local_dropout = 0.2;
  ExpectSlope(config, {true, 77}, 2, 40);
}

TEST(Gradients, MatchDifferencesInBothDirectionsWithMaskAndTable) {
  ReformerConfig config = SmallConfig();
  config.head = ReformerHead::kMaskedLanguageModel;
  config.is_decoder = false;
  config.local_after = 1;
  config.axial = false;
  std::vector<std::uint8_t> mask(2 * 37, 1);
  for (const idx_t hidden : {3, 20, 36, 40, 41, 73}) mask[static_cast<std::size_t>(hidden)] = 0;
  ExpectSlope(config, {}, 2, 37, {mask.data(), {2, 37}});
}

// ---- the same whatever the way ------------------------------------------------------------------

TEST(Reformer, SameBitsForAnyThreads) {
  ReformerConfig config = SmallConfig();
  config.hidden_dropout = config.local_dropout = 0.1;
  const RandomBatch data(3, 100, config.vocab_size, 8);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    Reformer model(config);
    model.Initialise(9);
    model.parameters().AllocateGradients();
    const CrossEntropyResult loss = model.LossAndGradients(context, data.batch, 0.01f, {true, 123});
    std::vector<float> all = Copied(model.parameters().gradients());
    all.push_back(static_cast<float>(loss.sum));
    return all;
  });
}

TEST(Reformer, TrainingWithoutDropoutSeesTheEvaluationsLoss) {
  Context context(2);
  Reformer model(SmallConfig());
  model.Initialise(3);
  model.parameters().AllocateGradients();
  const RandomBatch data(2, 50, 31, 4);
  const CrossEntropyResult eval = model.Loss(context, data.batch);
  const CrossEntropyResult train = model.LossAndGradients(context, data.batch, 1.0f, {});
  EXPECT_EQ(eval.counted, 100);
  EXPECT_DOUBLE_EQ(eval.sum, train.sum);
}

TEST(Reformer, RowsOfABatchDoNotSeeEachOther) {
  Context context(2);
  Reformer model(SmallConfig());
  model.Initialise(3);
  const idx_t tokens = 30, channels = 24;
  RandomBatch both(2, tokens, 31, 4);
  Tensor a1({2 * tokens, channels}), a2({2 * tokens, channels});
  model.Encode(context, both.batch, a1.view<2>(), a2.view<2>());
  Tensor b1({tokens, channels}), b2({tokens, channels});
  TokenBatch second{1, tokens, std::span<const std::int32_t>(both.ids).last(tokens), {}, {}};
  model.Encode(context, second, b1.view<2>(), b2.view<2>());
  const auto count = static_cast<std::size_t>(tokens * channels);
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_NEAR(a1.data<float>()[count + i], b1.data<float>()[i], 1e-5) << i;
  }
}

TEST(Reformer, SavedAndLoadedIsTheSame) {
  const test::TempDir directory;
  Reformer model(SmallConfig());
  model.Initialise(11);
  SaveReformer(model, directory.path());
  std::vector<std::string> warnings;
  Reformer loaded = LoadReformer(directory.path(), {}, &warnings);
  EXPECT_TRUE(warnings.empty());
  const auto a = Copied(model.parameters().values()), b = Copied(loaded.parameters().values());
  EXPECT_SAME_BITS(std::span<const float>(b), std::span<const float>(a));
}

// ---- bad arguments ------------------------------------------------------------------------------

TEST(Reformer, BadBatchesAreNamed) {
  Context context(1);
  Reformer model(SmallConfig());
  Tensor y1({300, 24}), y2({300, 24});
  const auto error = [&](const TokenBatch& batch) -> std::string {
    try {
      const idx_t n = batch.rows * batch.tokens;
      model.Encode(context, batch, y1.view<2>().Rows(0, n), y2.view<2>().Rows(0, n));
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  RandomBatch longer(1, 257, 31, 1);
  EXPECT_NE(error(longer.batch).find("257"), std::string::npos);
  EXPECT_NE(error(longer.batch).find("256"), std::string::npos);
  RandomBatch stranger(1, 8, 31, 1);
  stranger.ids[5] = 31;
  EXPECT_NE(error(stranger.batch).find("31"), std::string::npos);
  RandomBatch missing(1, 8, 31, 1);
  missing.batch.tokens = 9;
  EXPECT_NE(error(missing.batch), "");
}

TEST(Files, WeightsThatDoNotFitAreListed) {
  const test::TempDir directory;
  Reformer model(SmallConfig());
  SaveReformer(model, directory.path());
  ReformerConfig other = SmallConfig();
  other.feed_forward_size = 39;
  io::WriteFileAtomic(directory.path() / "config.json", ToJson(other));
  try {
    LoadReformer(directory.path());
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    EXPECT_NE(std::string(error.what()).find("feed_forward.dense.dense.weight"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace longspan
