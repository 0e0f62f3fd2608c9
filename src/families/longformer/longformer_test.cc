// The model against recorded cases, and against itself: threads, recomputation, dropout, padding.
#include "families/longformer/longformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/errors.h"
#include "families/longformer/longformer_files.h"
#include "families/longformer/longformer_test.h"
#include "families/recorded_case_test.h"
#include "model/weight_files.h"
#include "tests/support/compare.h"
#include "tests/support/entries.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// ---- against recorded cases ---------------------------------------------------------------------

class LongformerParityTest : public testing::TestWithParam<RecordedCase> {};

TEST_P(LongformerParityTest, TheRecordedCaseHolds) { ExpectCaseHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Golden, LongformerParityTest,
                         testing::Values(RecordedCase{"longformer-model", 59, 31},
                                         RecordedCase{"longformer-noglobal", 45, 25},
                                         RecordedCase{"longformer-allglobal", 59, 27},
                                         RecordedCase{"longformer-holes", 59, 31},
                                         RecordedCase{"longformer-mlm", 64, 31},
                                         RecordedCase{"longformer-seqcls", 63, 0},
                                         RecordedCase{"longformer-regression", 63, 0},
                                         RecordedCase{"longformer-tokencls", 61, 31},
                                         RecordedCase{"longformer-qa", 62, 0},
                                         RecordedCase{"longformer-multichoice", 63, 31}),
                         TestName);

// Each weight that has a gradient, one percent off, is noticed. Key biases shift all scores of a
// row alike: they change nothing, as the softmax has it.
TEST(LongformerParity, AnyTensorOnePercentOffIsNoticed) {
  const auto load = [](const ModelFolder& folder) { return LoadLongformer(folder); };
  const auto save = [](const auto& model, const fs::path& folder) {
    SaveLongformer(model, folder);
  };
  const auto matters = [](const std::string& name) {
    return name.find(".key.bias") == name.npos && name.find(".key_global.bias") == name.npos;
  };
  EXPECT_GE(ExpectOnePercentIsNoticed({"longformer-mlm", "longformer-seqcls", "longformer-qa"},
                                      load, save, matters),
            140);
}

// ---- against itself -----------------------------------------------------------------------------

TEST(Longformer, SameBitsForAnyThreads) {
  for (const HeadKind head : kTestedHeads) {
    if (head == HeadKind::kNone) continue;
    Longformer model(WithDropout(head));
    model.Initialise(4);
    const LongformerData data(model.config(), 2, 45, 3);
    test::ExpectSameBitsForAnyThreads([&](Context& context) {
      return Step(context, model, data.batch, {{true, 11}, {}, {}});
    });
  }
}

TEST(Longformer, RecomputationChangesNoBit) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kQuestion}) {
    Longformer model(WithDropout(head));
    model.Initialise(4);
    for (const std::uint64_t seed : {1, 2, 3}) {
      const LongformerData data(model.config(), 2, 37, seed);
      ExpectRecomputationKeepsBits(model, 2, data.batch);
    }
  }
}

TEST(Longformer, GradientsWithDropout) {
  for (const HeadKind head : kTestedHeads) {
    if (head == HeadKind::kNone) continue;
    SCOPED_TRACE(LongformerClass(head));
    Longformer model(WithDropout(head));
    model.Initialise(4);
    ExpectGradientIsTheSlope(model, LongformerData(model.config(), 2, 21, 3).batch);
  }
}

// Scaled gradients are those of scale * sum.
TEST(Longformer, ScaleOfTheGradients) {
  for (const HeadKind head : kTestedHeads) {
    if (head == HeadKind::kNone) continue;
    SCOPED_TRACE(LongformerClass(head));
    Longformer model(SmallLongformer(head));
    model.Initialise(4);
    LongformerData data(model.config(), 2, 21, 3);
    if (head == HeadKind::kQuestion) data.starts[1] = data.ends[1] = 4;  // nothing ignored
    Context context(2);
    const auto mean = Step(context, model, data.batch, {});
    const HeadLoss loss = model.Loss(context, data.batch);
    EXPECT_NEAR(loss.sum / static_cast<double>(loss.counted), loss.mean, 1e-12);
    const float scale = 3.0f / static_cast<float>(loss.counted);
    const auto scaled = Step(context, model, data.batch, {{}, scale, {}});
    for (std::size_t i = 0; i + 1 < mean.size(); ++i) {
      ASSERT_NEAR(scaled[i], 3.0f * mean[i], 1e-5f * (1.0f + std::abs(mean[i])));
    }
  }
}

// Padding behind a text changes nothing of the text.
TEST(Longformer, PaddingLeavesTheTextAlone) {
  Longformer model(SmallLongformer(HeadKind::kNone));
  model.Initialise(4);
  const idx_t channels = model.config().hidden_size;
  LongformerData data(model.config(), 1, 19, 3);
  data.batch.token_types = {};
  std::vector<std::int32_t> ids = data.ids;
  std::vector<std::uint8_t> roles = data.roles;
  ids.resize(31, static_cast<std::int32_t>(model.config().pad_token));
  roles.resize(31, kHiddenToken);
  BatchView padded = data.batch;
  padded.tokens = 31;
  padded.ids = ids;
  padded.roles = {roles.data(), {1, 31}};
  Context context(2);
  Tensor alone({19, channels}), longer({31, channels});
  model.Encode(context, data.batch, alone.view<2>());
  model.Encode(context, padded, longer.view<2>());
  for (idx_t i = 0; i < alone.size(); ++i) {
    ASSERT_NEAR(alone.data<float>()[i], longer.data<float>()[i], 2e-6f) << i;
  }
}

// A labelled token is all that a masked LM's head looks at.
TEST(Longformer, IgnoredLabels) {
  Longformer model(SmallLongformer(HeadKind::kMaskedLm));
  model.Initialise(4);
  LongformerData data(model.config(), 2, 9, 3);
  std::fill(data.labels.begin(), data.labels.end(), kIgnoreLabel);
  Context context(2);
  const auto nothing = Step(context, model, data.batch, {});
  EXPECT_TRUE(std::isnan(nothing.back()));
  EXPECT_EXACTLY_ZERO(std::span(nothing).first(nothing.size() - 1));
  data.labels[4] = 7;
  EXPECT_EQ(model.Loss(context, data.batch).counted, 1);
}

// ---- masks and positions ------------------------------------------------------------------------

TEST(LongformerInputs, MasksMergeAsInTheOriginal) {
  const std::vector<std::int32_t> mask = {1, 0, 1, 0, 2, 2}, global = {1, 1, 0, 0, 0, 1};
  EXPECT_THAT(MergeMasks(mask, global), testing::ElementsAre(2, 0, 1, 0, 2, 1));
  EXPECT_THAT(MergeMasks(mask, {}), testing::ElementsAre(1, 0, 1, 0, 2, 2));
  EXPECT_THAT(MergeMasks({}, global), testing::ElementsAre(2, 2, 1, 1, 1, 2));
}

TEST(LongformerInputs, PositionsSkipPadding) {
  const std::vector<std::int32_t> ids = {7, 8, 1, 9, 1, 1, 5, 6};
  EXPECT_THAT(PositionIds(ids, 2, 4, 1), testing::ElementsAre(2, 3, 1, 4, 1, 1, 2, 3));
}

// ---- bad arguments ------------------------------------------------------------------------------

template <class Call>
void ExpectError(ErrorCode code, const char* says, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "no error that says " << says;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(says));
  }
}

TEST(LongformerErrors, BatchesThatDoNotFit) {
  Longformer model(SmallLongformer(HeadKind::kMaskedLm));
  model.Initialise(4);
  Context context(1);
  const LongformerData data(model.config(), 2, 9, 3);
  const auto loss = [&](const auto& change) {
    BatchView batch = data.batch;
    change(batch);
    model.Loss(context, batch);
  };
  ExpectError(ErrorCode::kUsage, "need at least 1 of 1",
              [&] { loss([](BatchView& b) { b.rows = 0; }); });
  ExpectError(ErrorCode::kUsage, "17 ids",
              [&] { loss([](BatchView& b) { b.ids = b.ids.first(17); }); });
  ExpectError(ErrorCode::kUsage, "17 labels",
              [&] { loss([](BatchView& b) { b.labels = b.labels.first(17); }); });
  ExpectError(ErrorCode::kUsage, "roles are (2, 8)",
              [&] { loss([](BatchView& b) { b.roles.extent[1] = 8; }); });
  ExpectError(ErrorCode::kUsage, "choices of what to recompute", [&] {
    model.LossAndGradients(context, data.batch, {{}, {}, {true}});
  });
  const LongformerData longer(model.config(), 1, 63, 3);
  ExpectError(ErrorCode::kUsage, "row 0 has 63 tokens, but the model has positions for 62",
              [&] { model.Loss(context, longer.batch); });
  const LongformerData longest(model.config(), 1, 62, 3);
  EXPECT_GT(model.Loss(context, longest.batch).mean, 0.0);
  Longformer bare(SmallLongformer(HeadKind::kNone));
  ExpectError(ErrorCode::kUsage, "has no head", [&] { bare.Loss(context, data.batch); });
  Longformer choice(SmallLongformer(HeadKind::kChoice));
  BatchView odd = data.batch;
  odd.choices = 3;
  ExpectError(ErrorCode::kUsage, "do not divide into questions of 3 choices",
              [&] { choice.Loss(context, odd); });
}

// ---- files --------------------------------------------------------------------------------------

TEST(LongformerFiles, SavedModelsComeBack) {
  for (const HeadKind head : kTestedHeads) {
    const test::TempDir directory;
    Longformer model(SmallLongformer(head));
    model.Initialise(9);
    SaveLongformer(model, directory.path());
    std::vector<std::string> warnings;
    Longformer back = LoadLongformer(OpenModelFolder(directory.path()), {}, &warnings);
    EXPECT_TRUE(warnings.empty()) << warnings.front();
    EXPECT_SAME_BITS(CopiedView(back.parameters().values()),
                     CopiedView(model.parameters().values()));
    EXPECT_EQ(ToJson(back.config()), ToJson(model.config()));
  }
}

// A decoder of its own is a parameter like any other: kept apart from the word table in files, too.
TEST(LongformerFiles, AnUntiedDecoder) {
  const test::TempDir directory;
  LongformerConfig config = SmallLongformer(HeadKind::kMaskedLm);
  config.tied = false;
  Longformer model(config);
  model.Initialise(9);
  EXPECT_EQ(model.parameters().at("lm_head.decoder.weight").shape,
            (std::vector<idx_t>{config.vocab_size, config.hidden_size}));
  EXPECT_FALSE(model.parameters().contains("lm_head.bias"));
  const View<float, 1> bias = model.parameters().Write().vector("lm_head.decoder.bias");
  for (idx_t i = 0; i < bias.size(); ++i) bias(i) = static_cast<float>(i);
  SaveLongformer(model, directory.path());
  const auto file = io::SafetensorsFile::Open(directory.path() / "model.safetensors");
  EXPECT_EQ(file.ReadFloat("lm_head.bias").data<float>()[7], 7.0f);  // both names
  std::vector<std::string> warnings;
  Longformer back = LoadLongformer(OpenModelFolder(directory.path()), {}, &warnings);
  EXPECT_TRUE(warnings.empty());
  EXPECT_FALSE(back.config().tied);
  EXPECT_SAME_BITS(CopiedView(back.parameters().values()), CopiedView(model.parameters().values()));
  // The same file under a config that ties: both are kept, as in the original, and saved so.
  config.tied = true;
  std::ofstream(directory.path() / "config.json") << ToJson(config);
  Longformer two = LoadLongformer(OpenModelFolder(directory.path()), {}, &warnings);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("lm_head.decoder.weight and the word table differ; both are"));
  EXPECT_FALSE(two.config().tied);
  EXPECT_SAME_BITS(CopiedView(two.parameters().values()), CopiedView(model.parameters().values()));
  SaveLongformer(two, directory.path());
  EXPECT_FALSE(LoadLongformer(OpenModelFolder(directory.path())).config().tied);
  // An untied model needs a decoder.
  Longformer tied(config);
  tied.Initialise(9);
  SaveLongformer(tied, directory.path());
  config.tied = false;
  std::ofstream(directory.path() / "config.json") << ToJson(config);
  ExpectError(ErrorCode::kFormat, "lm_head.decoder.weight is missing",
              [&] { LoadLongformer(OpenModelFolder(directory.path())); });
}

// The encoder's names with and without their prefix, tied copies, a constant of old files.
TEST(LongformerFiles, NamesOfOtherFiles) {
  const test::TempDir directory;
  Longformer model(SmallLongformer(HeadKind::kMaskedLm));
  model.Initialise(9);
  SaveLongformer(model, directory.path());
  auto entries = WeightEntries(model.parameters());
  for (io::TensorEntry& entry : entries) {
    if (entry.name == "longformer.embeddings.word_embeddings.weight") {
      entry.name = "lm_head.decoder.weight";
    } else if (entry.name == "lm_head.bias") {
      entry.name = "lm_head.decoder.bias";
    } else if (entry.name.rfind("longformer.", 0) == 0) {
      entry.name = entry.name.substr(11);
    }
  }
  const Tensor ids({4});
  entries.push_back(test::EntryOf("embeddings.position_ids", ids));
  entries.push_back(test::EntryOf("classifier.what", ids));
  io::WriteSafetensors(directory.path() / "model.safetensors", entries);
  std::vector<std::string> warnings;
  Longformer back = LoadLongformer(OpenModelFolder(directory.path()), {}, &warnings);
  EXPECT_SAME_BITS(CopiedView(back.parameters().values()), CopiedView(model.parameters().values()));
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("'classifier.what' is not part of the model"));
}

TEST(LongformerFiles, ABareModelWithoutPooler) {
  const test::TempDir directory;
  LongformerConfig config = SmallLongformer(HeadKind::kNone);
  config.pooler = false;
  Longformer model(config);
  model.Initialise(9);
  SaveLongformer(model, directory.path());
  Longformer back = LoadLongformer(OpenModelFolder(directory.path()));
  EXPECT_FALSE(back.parameters().contains("pooler.dense.weight"));
  Context context(1);
  Tensor hidden({3, config.hidden_size}), pooled({1, config.hidden_size});
  ExpectError(ErrorCode::kUsage, "has no pooler", [&] {
    back.Pool(context, {1, 3}, hidden.view<2>(), pooled.view<2>());
  });
}

// What `from_pretrained` of another class does.
TEST(LongformerFiles, AnEncoderUnderAnotherHead) {
  const test::TempDir directory;
  Longformer mlm(SmallLongformer(HeadKind::kMaskedLm));
  mlm.Initialise(9);
  SaveLongformer(mlm, directory.path());
  LoadOptions load;
  load.head = WantedHead{HeadKind::kSequence, {"no", "yes"}, ProblemType::kSingleLabel, 5};
  load.dropout = 0.25;
  std::vector<std::string> notes;
  Longformer classifier = LoadLongformer(OpenModelFolder(directory.path()), load, &notes);
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_EQ(notes[0],
            "new: classifier.dense.bias, classifier.dense.weight, classifier.out_proj.bias, "
            "classifier.out_proj.weight");
  EXPECT_EQ(notes[1],
            "left out: lm_head.bias, lm_head.dense.bias, lm_head.dense.weight, "
            "lm_head.layer_norm.bias, lm_head.layer_norm.weight");
  EXPECT_EQ(classifier.config().labels, (std::vector<std::string>{"no", "yes"}));
  EXPECT_EQ(classifier.config().problem, ProblemType::kSingleLabel);
  EXPECT_EQ(classifier.config().attention_dropout, 0.25);
  Longformer drawn(classifier.config());
  drawn.Initialise(5);
  for (const ParameterInfo& info : classifier.parameters().list()) {
    Longformer& origin = info.name.starts_with("classifier.") ? drawn : mlm;
    EXPECT_SAME_BITS(CopiedView(classifier.parameters().vector(info.name)),
                     CopiedView(origin.parameters().vector(info.name)));
  }
  // Loaded for what it is, the folder is what it was; a head that is there is kept.
  LoadOptions same;
  same.head = WantedHead{HeadKind::kMaskedLm, {}, ProblemType::kInferred, 5};
  notes.clear();
  Longformer again = LoadLongformer(OpenModelFolder(directory.path()), same, &notes);
  EXPECT_TRUE(notes.empty()) << notes.front();
  EXPECT_SAME_BITS(CopiedView(again.parameters().values()), CopiedView(mlm.parameters().values()));
}

TEST(LongformerFiles, AHeadIsKeptForItsOwnLabelsOnly) {
  const test::TempDir directory;
  Longformer model(SmallLongformer(HeadKind::kSequence));
  model.Initialise(9);
  SaveLongformer(model, directory.path());
  const auto news = [&](const std::vector<std::string>& labels) {
    LoadOptions load;
    load.head = WantedHead{HeadKind::kSequence, labels, ProblemType::kSingleLabel, 5};
    std::vector<std::string> notes;
    LoadLongformer(OpenModelFolder(directory.path()), load, &notes);
    return notes.size();
  };
  EXPECT_EQ(news({"red", "green", "blue"}), 0u);
  EXPECT_EQ(news({"red", "green", "grey"}), 2u);  // of the same shape, and yet another head
  EXPECT_EQ(news({"red", "green"}), 2u);
  // An encoder that is not whole is no encoder, whatever the head.
  auto entries = WeightEntries(model.parameters());
  entries.erase(entries.begin() + 7);
  const std::string missing = WeightEntries(model.parameters())[7].name;
  io::WriteSafetensors(directory.path() / "model.safetensors", entries);
  ExpectError(ErrorCode::kFormat, (missing + " is missing").c_str(), [&] { news({"a", "b"}); });
}

TEST(LongformerFiles, WeightsThatDoNotFitTheConfig) {
  const test::TempDir directory;
  Longformer model(SmallLongformer(HeadKind::kToken));
  SaveLongformer(model, directory.path());
  const auto expect = [&](const char* says, const LongformerConfig& config) {
    std::ofstream(directory.path() / "config.json") << ToJson(config);
    ExpectError(ErrorCode::kFormat, says,
                [&] { LoadLongformer(OpenModelFolder(directory.path())); });
  };
  expect("lm_head.dense.weight is missing", SmallLongformer(HeadKind::kMaskedLm));
  expect("qa_outputs.weight is missing; qa_outputs.bias is missing",
         SmallLongformer(HeadKind::kQuestion));
  LongformerConfig fewer = SmallLongformer(HeadKind::kToken);
  fewer.labels.pop_back();
  expect("classifier.weight has shape (3, 12), the config needs (2, 12)", fewer);
}

TEST(LongformerInitialise, AsHuggingFaceDoes) {
  LongformerConfig config = SmallLongformer(HeadKind::kMaskedLm);
  config.initializer_range = 0.02;
  Longformer model(config);
  model.Initialise(1);
  ParameterTable& table = model.parameters();
  const auto row = [&](const char* name) {
    const View<const float, 2> m = table.matrix(std::string("longformer.embeddings.") + name);
    return std::vector<float>(&m(1, 0), &m(1, 0) + m.extent[1]);
  };
  EXPECT_EXACTLY_ZERO(row("word_embeddings.weight"));
  EXPECT_EXACTLY_ZERO(row("position_embeddings.weight"));
  const auto values = CopiedView(table.vector("longformer.encoder.layer.0.output.dense.weight"));
  EXPECT_NEAR(NormOf(values) / std::sqrt(static_cast<double>(values.size())), 0.02, 0.003);
  EXPECT_EXACTLY_ZERO(CopiedView(table.vector("lm_head.bias")));
  EXPECT_EQ(table.vector("lm_head.layer_norm.weight")(0), 1.0f);
}

}  // namespace
}  // namespace longspan
