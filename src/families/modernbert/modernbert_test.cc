// The model against recorded cases, and against itself: threads, recomputation, dropout, padding,
// files.
#include "families/modernbert/modernbert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/arena.h"
#include "base/errors.h"
#include "families/families.h"
#include "families/modernbert/family.h"
#include "families/modernbert/modernbert_files.h"
#include "families/modernbert/modernbert_test.h"
#include "families/recorded_case_test.h"
#include "io/safetensors.h"
#include "longspan/folders.h"
#include "model/step_memory.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// ---- against recorded cases ---------------------------------------------------------------------

class ModernBertParityTest : public testing::TestWithParam<RecordedCase> {};

TEST_P(ModernBertParityTest, TheRecordedCaseHolds) { ExpectCaseHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Golden, ModernBertParityTest,
                         testing::Values(RecordedCase{"modernbert-model", 37, 10},
                                         RecordedCase{"modernbert-leftpad", 33, 6},
                                         RecordedCase{"modernbert-mlm", 32, 1},
                                         RecordedCase{"modernbert-legacy-config", 32, 1},
                                         RecordedCase{"modernbert-rope-linear", 20, 0},
                                         RecordedCase{"modernbert-rope-yarn-dynamic", 20, 0},
                                         RecordedCase{"modernbert-rope-longrope-llama3", 20, 0},
                                         RecordedCase{"modernbert-seqcls-cls", 33, 0},
                                         RecordedCase{"modernbert-seqcls-mean", 33, 0},
                                         RecordedCase{"modernbert-tokencls", 33, 1},
                                         RecordedCase{"modernbert-multichoice", 33, 0},
                                         RecordedCase{"modernbert-qa", 34, 0}),
                         TestName);

// Each weight, one percent off, is noticed.
TEST(ModernBertParity, AnyTensorOnePercentOffIsNoticed) {
  const auto load = [](const ModelFolder& folder) { return LoadModernBert(folder); };
  const auto save = [](const auto& model, const fs::path& folder) {
    SaveModernBert(model, folder);
  };
  const auto matters = [](const std::string&) { return true; };
  EXPECT_GE(ExpectOnePercentIsNoticed({"modernbert-mlm", "modernbert-seqcls-mean", "modernbert-qa"},
                                      load, save, matters),
            85);
}

// A window more or less, or another theta, is noticed too.
TEST(ModernBertParity, OtherSettingsAreNoticed) {
  Context context(2);
  const test::TempDir directory;
  const fs::path folder = test::kGolden / "modernbert-leftpad";
  const auto holds = [&](const auto& change) {
    const ModernBert model = LoadModernBert(OpenModelFolder(folder));
    ModernBertConfig config = model.config();
    change(config);
    ModernBert other(config);
    const ParameterWriter writer = other.parameters().Write();
    std::copy_n(model.parameters().values().data, model.parameters().values().size(),
                writer.values().data);
    SaveModernBert(other, directory.path());
    return VerifyCase(context, directory.path(), folder / "case.safetensors").ok;
  };
  EXPECT_TRUE(holds([](ModernBertConfig&) {}));
  EXPECT_FALSE(holds([](ModernBertConfig& c) { c.local_attention += 2; }));
  EXPECT_FALSE(holds([](ModernBertConfig& c) { c.local_attention -= 2; }));
  EXPECT_FALSE(
      holds([](ModernBertConfig& c) { std::swap(c.full_rotary.theta, c.window_rotary.theta); }));
  EXPECT_FALSE(holds([](ModernBertConfig& c) { c.full = {true, true, false, false}; }));
  EXPECT_FALSE(holds([](ModernBertConfig& c) { c.norm_eps = 1e-3; }));
  EXPECT_FALSE(holds([](ModernBertConfig& c) { c.activation = "gelu_new"; }));
}

// ---- against itself -----------------------------------------------------------------------------

TEST(ModernBert, SameBitsForAnyThreads) {
  for (const HeadKind head : kModernHeads) {
    if (head == HeadKind::kNone) continue;
    ModernBert model(WithModernDropout(head));
    model.Initialise(4);
    const ModernBertData data(model.config(), 2, 45, 3);
    test::ExpectSameBitsForAnyThreads([&](Context& context) {
      return Step(context, model, data.batch, {{true, 11}, {}, {}});
    });
  }
}

TEST(ModernBert, RecomputationChangesNoBit) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    ModernBert model(WithModernDropout(HeadKind::kMaskedLm));
    model.Initialise(4);
    model.ComputeIn(dtype);
    for (const std::uint64_t seed : {1, 2, 3}) {
      ExpectRecomputationKeepsBits(model, 3, ModernBertData(model.config(), 2, 37, seed).batch);
    }
  }
}

TEST(ModernBert, GradientsWithDropout) {
  for (const HeadKind head : kModernHeads) {
    if (head == HeadKind::kNone) continue;
    SCOPED_TRACE(ModernBertClass(head));
    ModernBertConfig config = WithModernDropout(head);
    config.pad_token.reset();  // whose row has no gradient, but a slope
    ModernBert model(config);
    model.Initialise(4);
    ExpectGradientIsTheSlope(model, ModernBertData(model.config(), 2, 21, 3).batch);
  }
}

// bf16 products change little, in the forward as in the gradients.
TEST(ModernBert, Bf16IsNearFp32) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence}) {
    ModernBert model(SmallModernBert(head));
    model.Initialise(4);
    const ModernBertData data(model.config(), 3, 40, 8);
    Context context(2);
    const std::vector<float> exact = Step(context, model, data.batch, {});
    model.ComputeIn(DType::kBF16);
    EXPECT_GT(model.CopiedBytes(), 0u);
    std::vector<float> rounded = Step(context, model, data.batch, {});
    const double norm = NormOf(exact);
    for (std::size_t i = 0; i < exact.size(); ++i) rounded[i] -= exact[i];
    EXPECT_LT(NormOf(rounded), 0.05 * norm);
    EXPECT_GT(NormOf(rounded), 0.0);
  }
}

// ---- padding ------------------------------------------------------------------------------------

// The same text alone, padded on either side, and beside others: the same numbers but for rounding,
// and nothing for padding.
TEST(ModernBert, PaddingLeavesTheTextAlone) {
  ModernBert model(SmallModernBert(HeadKind::kNone));
  model.Initialise(4);
  const idx_t channels = model.config().hidden_size;
  const ModernBertData data(model.config(), 1, 19, 3);
  Context context(2);
  Tensor alone({19, channels});
  model.Encode(context, data.batch, alone.view<2>());
  for (const idx_t left : {0, 5, 12}) {
    std::vector<std::int32_t> ids(62, 9);
    std::vector<std::uint8_t> roles(62, kHiddenToken);
    std::copy_n(data.ids.begin(), 19, ids.begin() + left);
    std::fill_n(roles.begin() + left, 19, kLocalToken);
    std::fill_n(roles.begin() + 31, 31, kLocalToken);
    BatchView padded;
    padded.rows = 2;
    padded.tokens = 31;
    padded.ids = ids;
    padded.roles = {roles.data(), {2, 31}};
    Tensor hidden({62, channels});
    model.Encode(context, padded, hidden.view<2>());
    for (idx_t i = 0; i < alone.size(); ++i) {
      ASSERT_NEAR(hidden.data<float>()[left * channels + i], alone.data<float>()[i], 2e-6f) << i;
    }
    for (idx_t t = 0; t < 31; ++t) {
      if (t >= left && t < left + 19) continue;
      for (idx_t c = 0; c < channels; ++c) ASSERT_EQ(hidden.data<float>()[t * channels + c], 0.0f);
    }
  }
}

// A window that reaches everything is full attention, if the thetas are one.
TEST(ModernBert, AWideWindowIsFullAttention) {
  ModernBertConfig config = SmallModernBert(HeadKind::kNone);
  config.window_rotary.theta = config.full_rotary.theta;
  config.local_attention = 80;
  ModernBert windows(config);
  windows.Initialise(4);
  config.all_full = true;
  ModernBert full(config);
  full.Initialise(4);
  const ModernBertData data(config, 2, 33, 3);
  Context context(2);
  Tensor a({66, 12}), b({66, 12});
  windows.Encode(context, data.batch, a.view<2>());
  full.Encode(context, data.batch, b.view<2>());
  for (idx_t i = 0; i < a.size(); ++i) {
    ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 2e-6f) << i;
  }
}

// Texts of all lengths side by side, where the length decides how fast channels turn.
TEST(ModernBert, EachTextTurnsAsItDoesAlone) {
  ModernBertConfig config = SmallModernBert(HeadKind::kNone);
  config.max_positions = 8;
  const auto encode = [&](const BatchView& batch) {
    ModernBert model(config);
    model.Initialise(4);
    Context context(2);
    Tensor hidden({batch.rows * batch.tokens, 12});
    model.Encode(context, batch, hidden.view<2>());
    return std::vector<float>(hidden.data<float>(), hidden.data<float>() + hidden.size());
  };
  const std::vector<idx_t> lengths = {5, 30, 8, 9, 12};
  std::vector<std::int32_t> ids;
  for (std::int32_t i = 0; i < 64; ++i) ids.push_back(4 + i * 7 % 25);
  BatchView together{1, 64, ids};
  together.documents = lengths;
  const std::vector<float> plain = encode(together);
  config.full_rotary.kind = RotaryKind::kDynamic;
  config.full_rotary.factor = 4.0;
  config.window_rotary.kind = RotaryKind::kLongRope;
  config.window_rotary.original_positions = 9;
  config.window_rotary.short_factor = {1.0, 1.2};
  config.window_rotary.long_factor = {2.0, 3.0};
  const std::vector<float> all = encode(together);
  double changed = 0.0;
  std::size_t begin = 0;
  for (const idx_t length : lengths) {
    const std::vector<float> alone =
        encode({1, length, std::span(ids).subspan(begin, static_cast<std::size_t>(length))});
    for (std::size_t i = 0; i < alone.size(); ++i) {
      ASSERT_NEAR(all[begin * 12 + i], alone[i], 2e-6f) << length << " " << i;
      changed += std::abs(all[begin * 12 + i] - plain[begin * 12 + i]);
    }
    begin += static_cast<std::size_t>(length);
  }
  EXPECT_GT(changed, 1.0);
}

TEST(ModernBert, RowsWithoutAVisibleTokenGiveNumbers) {
  ModernBert model(SmallModernBert(HeadKind::kSequence));
  model.Initialise(4);
  ModernBertData data(model.config(), 2, 7, 3);
  std::fill(data.roles.begin() + 7, data.roles.end(), kHiddenToken);
  Context context(1);
  Tensor hidden({14, 12});
  model.Encode(context, data.batch, hidden.view<2>());
  const Tensor logits = model.Logits(context, data.batch, std::as_const(hidden).view<2>());
  for (idx_t i = 0; i < logits.size(); ++i) EXPECT_TRUE(std::isfinite(logits.data<float>()[i]));
}

// A step books what its rehearsal booked, under every head, and takes no more the second time.
TEST(ModernBert, BooksWhatTheRehearsalBooked) {
  for (const HeadKind head : kModernHeads) {
    if (head == HeadKind::kNone || head == HeadKind::kChoice) continue;
    for (const std::size_t recompute : {0, 3}) {
      constexpr idx_t kRows = 2, kTokens = 300;
      ModernBertConfig config = WithModernDropout(head);
      config.hidden_size = 96;
      config.problem = ProblemType::kSingleLabel;
      StepPolicy policy;
      policy.recompute = recompute;
      const StepNeeds needs = RehearseStep(*MakeModelConfig(config), kRows, kTokens, 2, policy);
      Context context(2);
      ModernBert model(config);
      model.Initialise(1);
      model.parameters().AllocateGradients();
      const bool tokens = head == HeadKind::kMaskedLm || head == HeadKind::kToken;
      const std::vector<std::int32_t> ids(kRows * kTokens, 5);
      std::vector<std::int32_t> labels(tokens ? kRows * kTokens : kRows, 1);
      for (std::size_t t = 0; head == HeadKind::kMaskedLm && t < labels.size(); ++t) {
        if (t % 20 >= 3) labels[t] = kIgnoreLabel;
      }
      BatchView batch;
      batch.rows = kRows;
      batch.tokens = kTokens;
      batch.ids = ids;
      (head == HeadKind::kQuestion ? batch.starts : batch.labels) = labels;
      batch.ends = batch.starts;
      EncoderStep step;
      step.dropout = {true, 3};
      step.recompute.assign(config.layers(), recompute > 0);
      for (int time = 0; time < 2; ++time) {
        model.LossAndGradients(context, batch, step);
        EXPECT_EQ(context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch)
            << ModernBertClass(head) << ", " << recompute;
      }
      EXPECT_EQ(model.StepGflop(batch), needs.gflop);
    }
  }
}

// Less memory is more recomputation, down to what does not fit.
TEST(ModernBert, StepsAreFittedIntoMemory) {
  ModernBertConfig config = WithModernDropout(HeadKind::kMaskedLm);
  config.hidden_size = 96;
  const auto made = MakeModelConfig(config);
  const auto needs = [&](const StepPolicy& policy) {
    return RehearseStep(*made, 1, 900, 2, policy).memory.total();
  };
  StepPolicy all;
  all.recompute = config.layers();
  const std::size_t most = needs({}), least = needs(all);
  ASSERT_LT(least, most);
  EXPECT_EQ(made->Fit(1, 900, most, {}, 2).recompute, 0u);
  // The last layer keeps little for a head that reads few rows, so it may stay as it is.
  const StepPolicy fewest = made->Fit(1, 900, least, {}, 2);
  EXPECT_GE(fewest.recompute + 1, config.layers());
  EXPECT_LE(needs(fewest), least);
  const StepPolicy between = made->Fit(1, 900, (least + most) / 2, {}, 2);
  EXPECT_LE(needs(between), (least + most) / 2);
  EXPECT_THROW(made->Fit(1, 900, least / 4, {}, 2), Error);
}

// ---- bad arguments ------------------------------------------------------------------------------

template <class Call>
void ExpectModernError(ErrorCode code, const char* says, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "no error that says " << says;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(says));
  }
}

TEST(ModernBertErrors, BatchesThatDoNotFit) {
  ModernBert model(SmallModernBert(HeadKind::kMaskedLm));
  model.Initialise(4);
  Context context(1);
  const ModernBertData data(model.config(), 2, 9, 3);
  const auto loss = [&](const auto& change) {
    BatchView batch = data.batch;
    change(batch);
    model.Loss(context, batch);
  };
  ExpectModernError(ErrorCode::kUsage, "need at least 1 of 1",
                    [&] { loss([](BatchView& b) { b.rows = 0; }); });
  ExpectModernError(ErrorCode::kUsage, "17 ids",
                    [&] { loss([](BatchView& b) { b.ids = b.ids.first(17); }); });
  ExpectModernError(ErrorCode::kUsage, "17 labels",
                    [&] { loss([](BatchView& b) { b.labels = b.labels.first(17); }); });
  ExpectModernError(ErrorCode::kUsage, "roles are (2, 8)",
                    [&] { loss([](BatchView& b) { b.roles.extent[1] = 8; }); });
  ExpectModernError(ErrorCode::kUsage, "choices of what to recompute", [&] {
    model.LossAndGradients(context, data.batch, {{}, {}, {true}});
  });
  ModernBert bare(SmallModernBert(HeadKind::kNone));
  ExpectModernError(ErrorCode::kUsage, "has no head", [&] { bare.Loss(context, data.batch); });
  // Targets are counted before anything is moved.
  ModernBert sequence(SmallModernBert(HeadKind::kSequence));
  ModernBert answers(SmallModernBert(HeadKind::kQuestion));
  const std::vector<std::int32_t> three = {0, 1, 2};
  BatchView targets = data.batch;
  targets.labels = targets.starts = targets.ends = three;
  for (const std::vector<idx_t>& documents : {std::vector<idx_t>{}, {9, 9}}) {
    targets.documents = documents;
    ExpectModernError(ErrorCode::kUsage, "need 2", [&] { answers.Loss(context, targets); });
    ExpectModernError(ErrorCode::kUsage, "3 labels for 2 rows",
                      [&] { sequence.Loss(context, targets); });
  }
  const std::vector<idx_t> fit = {9, 5, 4}, longer = {9, 10, 4};
  targets.documents = fit;
  EXPECT_EQ(sequence.Loss(context, targets).counted, 3);
  targets.documents = longer;
  ExpectModernError(ErrorCode::kUsage, "a document of 10 tokens at token 9 of rows of 9",
                    [&] { sequence.Loss(context, targets); });
}

// ---- files --------------------------------------------------------------------------------------

TEST(ModernBertFiles, SavedModelsComeBack) {
  for (const HeadKind head : kModernHeads) {
    for (const std::uint64_t seed : {1, 2, 3, 4}) {
      const test::TempDir directory;
      ModernBert model(RandomModernBert(head, seed));
      model.Initialise(9);
      SaveModernBert(model, directory.path());
      std::vector<std::string> warnings;
      ModernBert back = LoadModernBert(OpenModelFolder(directory.path()), {}, &warnings);
      EXPECT_TRUE(warnings.empty()) << warnings.front();
      EXPECT_SAME_BITS(CopiedView(back.parameters().values()),
                       CopiedView(model.parameters().values()));
      EXPECT_EQ(ToJson(back.config()), ToJson(model.config()));
      EXPECT_EQ(ParameterCount(model.config()),
                static_cast<std::uint64_t>(model.parameters().count()));
    }
  }
}

// Writes a model's tensors under other names; an empty new name leaves one out.
template <class NewName>
void WriteRenamed(const ModernBert& model, const fs::path& folder, const NewName& new_name) {
  SaveModernBert(model, folder);
  std::vector<io::TensorEntry> entries;
  for (io::TensorEntry entry : ModernBertEntries(model)) {
    entry.name = new_name(entry.name);
    if (!entry.name.empty()) entries.push_back(std::move(entry));
  }
  io::WriteSafetensors(folder / "model.safetensors", entries, {});
}

TEST(ModernBertFiles, NamesWithAndWithoutThePrefix) {
  const test::TempDir directory;
  ModernBert bare(SmallModernBert(HeadKind::kNone)), mlm(SmallModernBert(HeadKind::kMaskedLm));
  bare.Initialise(1);
  mlm.Initialise(2);
  const auto same = [&](const ModernBert& model) {
    std::vector<std::string> warnings;
    const ModernBert back = LoadModernBert(OpenModelFolder(directory.path()), {}, &warnings);
    EXPECT_TRUE(warnings.empty() || warnings.size() == 1);
    EXPECT_SAME_BITS(CopiedView(back.parameters().values()),
                     CopiedView(model.parameters().values()));
  };
  WriteRenamed(bare, directory.path(), [](const std::string& name) { return "model." + name; });
  same(bare);
  WriteRenamed(mlm, directory.path(), [](const std::string& name) {
    return name.starts_with("model.") ? name.substr(6) : name;
  });
  same(mlm);
  WriteRenamed(mlm, directory.path(), [](const std::string& name) { return "module." + name; });
  same(mlm);
  // The word table as the decoder that it is tied to.
  WriteRenamed(mlm, directory.path(), [](const std::string& name) {
    return name == "model.embeddings.tok_embeddings.weight" ? std::string("decoder.weight") : name;
  });
  same(mlm);
}

// tie_word_embeddings is true and the file has two matrices: they stay two, as in the original.
TEST(ModernBertFiles, ATiedConfigWithTwoMatrices) {
  const test::TempDir directory;
  ModernBertConfig config = SmallModernBert(HeadKind::kMaskedLm);
  config.tied = false;
  ModernBert model(config);
  model.Initialise(5);
  SaveModernBert(model, directory.path());
  auto fields = nlohmann::json::parse(ToJson(config));
  fields["tie_word_embeddings"] = true;
  std::ofstream(directory.path() / "config.json") << fields;
  std::vector<std::string> warnings;
  const ModernBert back = LoadModernBert(OpenModelFolder(directory.path()), {}, &warnings);
  EXPECT_FALSE(back.config().tied);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_THAT(warnings[0], HasSubstr("both are kept"));
  EXPECT_SAME_BITS(CopiedView(back.parameters().values()), CopiedView(model.parameters().values()));
}

// A masked language model under another head keeps encoder and transform, and draws the rest.
TEST(ModernBertFiles, AnEncoderUnderAnotherHead) {
  const test::TempDir directory;
  ModernBert model(SmallModernBert(HeadKind::kMaskedLm));
  model.Initialise(5);
  SaveModernBert(model, directory.path());
  LoadOptions options;
  options.head = WantedHead{HeadKind::kSequence, {"no", "yes"}, ProblemType::kInferred};
  std::vector<std::string> warnings;
  const ModernBert other = LoadModernBert(OpenModelFolder(directory.path()), options, &warnings);
  for (const ParameterInfo& info : model.parameters().list()) {
    if (info.name == "decoder.bias") continue;
    EXPECT_SAME_BITS(CopiedView(other.parameters().vector(info.name)),
                     CopiedView(model.parameters().vector(info.name)));
  }
  EXPECT_THAT(warnings, testing::ElementsAre("new: classifier.bias, classifier.weight",
                                             "left out: decoder.bias"));
}

TEST(ModernBertFiles, TheAttentionOption) {
  const fs::path folder = test::kGolden / "modernbert-leftpad";
  Context context(1);
  FamilyOptions options;
  options.Set("attention", std::string("full"));
  EXPECT_FALSE(VerifyCase(context, folder, folder / "case.safetensors", options).ok);
  options.Set("attention", std::string("config"));
  EXPECT_TRUE(VerifyCase(context, folder, folder / "case.safetensors", options).ok);
  options.Set("attention", std::string("lsh"));
  ExpectModernError(ErrorCode::kUsage, "a ModernBERT has full and config",
                    [&] { VerifyCase(context, folder, folder / "case.safetensors", options); });
  FamilyOptions hashes;
  hashes.Set("num-hashes", idx_t{2});
  ExpectModernError(ErrorCode::kUsage, "num-hashes",
                    [&] { VerifyCase(context, folder, folder / "case.safetensors", hashes); });
}

// ---- initialisation -----------------------------------------------------------------------------

// Normal numbers that are cut at two deviations have 0.880 of the deviation.
TEST(ModernBertInitialise, AsHuggingFaceDoes) {
  ModernBertConfig config;
  config.head = HeadKind::kSequence;
  config.full = FullEvery(8, 3);
  config.vocab_size = 500;
  config.hidden_size = 128;
  config.heads = 2;
  config.feed_forward_size = 96;
  ModernBert model(config);
  model.Initialise(3);
  const auto expect = [&](const char* name, double deviation) {
    const std::vector<float> values = CopiedView(model.parameters().vector(name));
    const double measured = NormOf(values) / std::sqrt(static_cast<double>(values.size()));
    EXPECT_NEAR(measured, 0.880 * deviation, 0.1 * deviation) << name;
    const float most = *std::max_element(values.begin(), values.end());
    EXPECT_LE(most, 2.0 * deviation * (1.0 + 1e-6)) << name;
    EXPECT_GT(most, 1.2 * deviation) << name;
  };
  expect("model.embeddings.tok_embeddings.weight", 0.02);
  expect("model.layers.3.attn.Wqkv.weight", 0.02);
  expect("model.layers.3.mlp.Wi.weight", 0.02);
  expect("model.layers.3.attn.Wo.weight", 0.02 / 4.0);  // sqrt(2 * 8)
  expect("model.layers.3.mlp.Wo.weight", 0.02 / 4.0);
  expect("head.dense.weight", 0.02 / 4.0);
  expect("classifier.weight", 1.0 / std::sqrt(128.0));
  EXPECT_EQ(model.parameters().vector("model.layers.1.attn_norm.weight")(5), 1.0f);
  EXPECT_EQ(model.parameters().vector("classifier.bias")(0), 0.0f);
}

}  // namespace
}  // namespace longspan
