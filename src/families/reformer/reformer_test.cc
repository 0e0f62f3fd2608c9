// The model against recorded cases, finite differences and itself.
#include "families/reformer/reformer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/errors.h"
#include "families/recorded_case_test.h"
#include "families/reformer/reformer_files.h"
#include "families/reformer/reformer_test.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"
#include "longspan/folders.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;

// ---- against recorded cases ---------------------------------------------------------------------

class ParityTest : public testing::TestWithParam<RecordedCase> {};

TEST_P(ParityTest, TheRecordedCaseHolds) { ExpectCaseHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Golden, ParityTest,
    testing::Values(RecordedCase{"reformer-local", 36}, RecordedCase{"reformer-lm", 60},
                    RecordedCase{"reformer-lsh", 34}, RecordedCase{"reformer-autobuckets", 4},
                    RecordedCase{"reformer-short", 4}, RecordedCase{"reformer-autopad", 4},
                    RecordedCase{"reformer-encoder", 45}, RecordedCase{"reformer-mlm", 35},
                    RecordedCase{"reformer-seqcls", 38}, RecordedCase{"reformer-qa", 37},
                    RecordedCase{"reformer-embeds", 4}, RecordedCase{"reformer-leftpad", 60},
                    RecordedCase{"reformer-positions", 5}, RecordedCase{"reformer-regression", 38},
                    RecordedCase{"reformer-sets", 38}),
    TestName);

// Each weight that has a gradient, one percent off, is noticed.
TEST(Parity, AnyTensorOnePercentOffIsNoticed) {
  const auto load = [](const ModelFolder& folder) { return LoadReformer(folder); };
  const auto save = [](const auto& model, const fs::path& folder) { SaveReformer(model, folder); };
  const auto matters = [](const std::string&) { return true; };
  EXPECT_GE(ExpectOnePercentIsNoticed({"reformer-local", "reformer-lm"}, load, save, matters), 60);
}

// Each recorded gradient, one percent off, is noticed too.
TEST(Parity, AnyGradientOnePercentOffIsNoticed) {
  Context context(2);
  const test::TempDir directory;
  for (const char* name : {"reformer-local", "reformer-lm"}) {
    const fs::path folder = test::kGolden / name;
    const auto recorded = io::SafetensorsFile::Open(folder / "case.safetensors");
    std::map<std::string, Tensor> values;
    std::vector<io::TensorEntry> entries;
    std::vector<std::string> gradients;
    for (const auto& [tensor, info] : recorded.tensors()) {
      if (tensor.rfind("grad.", 0) == 0) gradients.push_back(tensor);
      const Tensor& read = values[tensor] = recorded.ReadFloat(tensor);
      entries.push_back({tensor, DType::kF32, info.shape, read.data<float>()});
    }
    // All of them at once: the report says of each one whether it was noticed.
    for (const std::string& gradient : gradients) {
      Tensor& tensor = values[gradient];
      for (idx_t i = 0; i < tensor.size(); ++i) tensor.data<float>()[i] *= 1.01f;
    }
    io::WriteSafetensors(directory.path() / "case.safetensors", entries);
    const ParityReport report = VerifyCase(context, folder, directory.path() / "case.safetensors");
    std::size_t noticed = 0;
    for (const TensorParity& t : report.tensors) {
      const bool is_gradient = t.name.rfind("grad.", 0) == 0;
      EXPECT_EQ(t.ok, !is_gradient) << name << ": " << t.name;
      noticed += is_gradient && !t.ok ? 1 : 0;
    }
    EXPECT_EQ(noticed, gradients.size());
  }
}

// Rotations of another shape, or for a layer that does not hash, are no part of the model.
TEST(Parity, RotationsThatDoNotFitAreRefused) {
  Context context(1);
  const test::TempDir directory;
  const std::vector<std::int64_t> ids(16, 1);
  const std::vector<float> zeros(3 * 16 * 2 * 5);
  const auto message = [&](const char* tensor, std::vector<idx_t> shape) -> std::string {
    io::WriteSafetensors(
        directory.path() / "case.safetensors",
        std::vector<io::TensorEntry>{{"input.input_ids", DType::kI64, {1, 16}, ids.data()},
                                     {"expected.logits", DType::kF32, {1}, zeros.data()},
                                     {tensor, DType::kF32, std::move(shape), zeros.data()}});
    try {
      VerifyCase(context, test::kGolden / "reformer-lm", directory.path() / "case.safetensors");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFormat);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message("rotations.1", {3, 16, 2, 5}).find("rotations.1"), std::string::npos);
  EXPECT_NE(message("rotations.0", {3, 16, 2, 4}).find("rotations.0"), std::string::npos);
  EXPECT_NE(message("rotations.9", {3, 16, 2, 4}).find("rotations.9"), std::string::npos);
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
  EXPECT_THROW(
      VerifyCase(context, test::kGolden / "reformer-local", directory.path() / "case.safetensors"),
      Error);
}

// ---- gradients ----------------------------------------------------------------------------------

TEST(Gradients, MatchDifferences) { ExpectSlope(SmallConfig(), {}, 2, 40); }

TEST(Gradients, MatchDifferencesUnderDropoutEverywhere) {
  ReformerConfig config = SmallConfig();
  config.hidden_dropout = config.local_dropout = 0.2;
  ExpectSlope(config, {true, 77}, 2, 40);
}

// Inputs are rebuilt layer by layer on the way back: what that loses must not show.
TEST(Depth, GradientsMatchDifferencesThroughManyLayers) {
  ReformerConfig config = SmallConfig();
  config.layers.assign(16, LayerKind::kLocal);
  config.initializer_range = 0.15;
  ExpectSlope(config, {}, 1, 20);
}

TEST(Gradients, MatchDifferencesInBothDirectionsWithMaskAndTable) {
  ReformerConfig config = SmallConfig();
  config.head = HeadKind::kMaskedLm;
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
    const HeadLoss loss = model.LossAndGradients(context, data.batch, 0.01f, {true, 123});
    std::vector<float> all = Copied(model.parameters().gradients());
    all.push_back(static_cast<float>(loss.sum));
    return all;
  });
}

// To rounding: evaluation adds in fp32, training on a grid.
TEST(Reformer, TrainingWithoutDropoutSeesTheEvaluationsLoss) {
  Context context(2);
  Reformer model(SmallConfig());
  model.Initialise(3);
  model.parameters().AllocateGradients();
  const RandomBatch data(2, 50, 31, 4);
  const HeadLoss eval = model.Loss(context, data.batch);
  const HeadLoss train = model.LossAndGradients(context, data.batch, 1.0f, {});
  EXPECT_EQ(eval.counted, 100);
  EXPECT_NEAR(eval.sum, train.sum, 1e-7 * eval.sum);
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
  ReformerBatch second{1, tokens, std::span<const std::int32_t>(both.ids).last(tokens), {}, {}};
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
  Reformer loaded = LoadReformer(OpenModelFolder(directory.path()), {}, &warnings);
  EXPECT_TRUE(warnings.empty());
  const auto a = Copied(model.parameters().values()), b = Copied(loaded.parameters().values());
  EXPECT_SAME_BITS(std::span<const float>(b), std::span<const float>(a));
}

// ---- bad arguments ------------------------------------------------------------------------------

TEST(Reformer, BadBatchesAreNamed) {
  Context context(1);
  Reformer model(SmallConfig());
  Tensor y1({300, 24}), y2({300, 24});
  const auto error = [&](const ReformerBatch& batch) -> std::string {
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
    LoadReformer(OpenModelFolder(directory.path()));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    EXPECT_NE(std::string(error.what()).find("feed_forward.dense.dense.weight"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace longspan
