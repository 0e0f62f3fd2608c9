// The model against recorded cases, and against itself: threads, recomputation, dropout, documents,
// files.
#include "families/bert/bert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <utility>

#include "families/bert/family.h"
#include "families/recorded_case_test.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/tensor_source.h"
#include "model/documents.h"
#include "model/post_norm_test.h"
#include "model/weight_files.h"
#include "tests/support/entries.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

// ---- against recorded cases ---------------------------------------------------------------------

class BertParityTest : public testing::TestWithParam<RecordedCase> {};

TEST_P(BertParityTest, TheRecordedCaseHolds) { ExpectCaseHolds(GetParam()); }

INSTANTIATE_TEST_SUITE_P(
    Golden, BertParityTest,
    testing::Values(RecordedCase{"bert-model", 45}, RecordedCase{"bert-leftpad", 40},
                    RecordedCase{"bert-mlm", 45}, RecordedCase{"bert-mlm-untied", 46},
                    RecordedCase{"bert-pretraining", 45}, RecordedCase{"bert-seqcls", 44},
                    RecordedCase{"bert-tokencls", 42}, RecordedCase{"bert-qa", 43},
                    RecordedCase{"bert-multichoice", 44}, RecordedCase{"roberta-model", 45},
                    RecordedCase{"roberta-mlm", 45}, RecordedCase{"roberta-seqcls", 44},
                    RecordedCase{"roberta-regression", 44}, RecordedCase{"roberta-tokencls", 42},
                    RecordedCase{"roberta-qa", 43}, RecordedCase{"roberta-multichoice", 44},
                    RecordedCase{"camembert-mlm", 45}),
    TestName);

// Each weight that has a gradient, one percent off, is noticed. Key biases shift all scores of a
// row alike: they change nothing, as the softmax has it.
TEST(BertParity, AnyTensorOnePercentOffIsNoticed) {
  const auto load = [](const ModelFolder& folder) { return LoadBert(folder); };
  const auto save = [](const auto& model, const fs::path& folder) { SaveBert(model, folder); };
  const auto matters = [](const std::string& name) { return name.find(".key.bias") == name.npos; };
  EXPECT_GE(ExpectOnePercentIsNoticed({"bert-seqcls", "roberta-mlm"}, load, save, matters), 78);
}

// ---- against itself -----------------------------------------------------------------------------

// Both rules of positions, names and classifiers.
BertConfig SmallBert(HeadKind head, std::string_view type = "bert") {
  BertConfig c(BertTypeNamed(type, "test"));
  c.head = head;
  c.layer_count = 2;
  c.vocab_size = 29;
  c.hidden_size = 12;
  c.heads = 3;
  c.feed_forward_size = 20;
  c.max_positions = 48;
  c.layer_norm_eps = 1e-5;
  c.initializer_range = 0.3;
  c.hidden_dropout = c.attention_dropout = 0.0;
  if (head == HeadKind::kSequence || head == HeadKind::kToken) c.labels = {"red", "green", "blue"};
  return c;
}

BertConfig WithDropoutOf(HeadKind head, std::string_view type) {
  BertConfig c = SmallBert(head, type);
  c.hidden_dropout = 0.2;
  c.attention_dropout = 0.3;
  c.classifier_dropout = 0.1;
  return c;
}

TEST(BertTest, SameBitsForAnyThreads) {
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence}) {
    Bert model(WithDropoutOf(head, "bert"));
    model.Initialise(4);
    const PostNormData data(model.config(), 2, 37, 3);
    test::ExpectSameBitsForAnyThreads([&](Context& context) {
      return Step(context, model, data.batch, {{true, 11}, {}, {}});
    });
  }
}

TEST(BertTest, RecomputationChangesNoBit) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Bert model(WithDropoutOf(HeadKind::kMaskedLm, "roberta"));
    model.Initialise(4);
    model.ComputeIn(dtype);
    ExpectRecomputationKeepsBits(model, 2, PostNormData(model.config(), 2, 37, 2).batch);
  }
}

TEST(BertTest, GradientsWithDropout) {
  for (const char* type : {"bert", "roberta"}) {
    for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kToken,
                                HeadKind::kQuestion, HeadKind::kChoice}) {
      Bert model(WithDropoutOf(head, type));
      SCOPED_TRACE(model.config().class_name());
      model.Initialise(4);
      ExpectGradientIsTheSlope(model, PostNormData(model.config(), 2, 21, 3).batch);
    }
  }
}

// ---- texts side by side -------------------------------------------------------------------------

// Three texts in one row give what each gives in a row of its own: hidden states, and the sum of
// their gradients. With a border less they do not.
TEST(BertTest, TextsSideBySideAreWhatTheyAreApart) {
  const std::vector<idx_t> lengths = {13, 5, 22};
  for (const char* type : {"bert", "roberta"}) {
    const BertConfig config = SmallBert(HeadKind::kToken, type);
    Bert model(config), alone(config);
    for (Bert* m : {&model, &alone}) {
      m->Initialise(5);
      Perturb(*m, 6, 0.1f);
      m->parameters().AllocateGradients();
    }
    PostNormData data(config, 1, 40, 3);
    data.batch.documents = lengths;
    Context context(2);
    const EncoderStep step{{}, 0.01f, {}};
    Tensor hidden({40, config.hidden_size});
    model.Encode(context, data.batch, hidden.view<2>());
    const HeadLoss together = model.LossAndGradients(context, data.batch, step);
    double sum = 0.0;
    ForEachDocument(lengths, [&](idx_t, idx_t begin, idx_t length) {
      const auto at = static_cast<std::size_t>(begin), count = static_cast<std::size_t>(length);
      BatchView one = data.batch;
      one.tokens = length;
      one.ids = one.ids.subspan(at, count);
      one.labels = one.labels.subspan(at, count);
      if (!one.token_types.empty()) one.token_types = one.token_types.subspan(at, count);
      one.roles = {data.roles.data() + begin, {1, length}};
      one.documents = {};
      Tensor own({length, config.hidden_size});
      alone.Encode(context, one, own.view<2>());
      const std::span<const float> apart(own.data<float>(), static_cast<std::size_t>(own.size()));
      const std::span<const float> part(hidden.data<float>() + begin * config.hidden_size,
                                        apart.size());
      EXPECT_LT(DistanceOf(part, apart), 1e-5 * NormOf(apart));
      sum += alone.LossAndGradients(context, one, step).sum;
    });
    EXPECT_NEAR(together.sum, sum, 1e-5 * sum);
    const auto gradients = CopiedView(model.parameters().gradients());
    const auto apart = CopiedView(alone.parameters().gradients());
    EXPECT_LT(DistanceOf(gradients, apart), 1e-5 * NormOf(apart));
    const std::vector<idx_t> fewer = {18, 22};
    data.batch.documents = fewer;
    const View<float, 1> g = alone.parameters().gradients();
    std::fill_n(g.data, g.size(), 0.0f);
    alone.LossAndGradients(context, data.batch, step);
    EXPECT_GT(DistanceOf(CopiedView(g), apart), 1e-3 * NormOf(apart));
  }
}

// Products in bf16 are near those in fp32, and not they.
TEST(BertTest, Bf16IsNear) {
  Bert model(SmallBert(HeadKind::kNone));
  model.Initialise(5);
  const PostNormData data(model.config(), 2, 30, 3);
  Context context(2);
  Tensor exact({60, model.config().hidden_size}), rounded({60, model.config().hidden_size});
  model.Encode(context, data.batch, exact.view<2>());
  model.ComputeIn(DType::kBF16);
  model.Encode(context, data.batch, rounded.view<2>());
  const std::span<const float> a(exact.data<float>(), static_cast<std::size_t>(exact.size()));
  const std::span<const float> b(rounded.data<float>(), a.size());
  EXPECT_LT(DistanceOf(a, b), 0.05 * NormOf(a));
  EXPECT_GT(DistanceOf(a, b), 1e-5 * NormOf(a));
}

TEST(BertTest, TextsLongerThanTheTableAreRefused) {
  Bert bert(SmallBert(HeadKind::kNone)), roberta(SmallBert(HeadKind::kNone, "roberta"));
  Context context(1);
  const std::vector<std::int32_t> ids(49, 7);
  BatchView batch;
  batch.rows = 1;
  batch.tokens = 49;
  batch.ids = ids;
  Tensor hidden({49, 12});
  const auto encode = [&](Bert& model) { model.Encode(context, batch, hidden.view<2>()); };
  EXPECT_TRUE(test::Throws([&] { encode(bert); }, ErrorCode::kUsage,
                           "row 0 has 49 tokens, but the model has positions for 48"));
  EXPECT_TRUE(test::Throws([&] { encode(roberta); }, ErrorCode::kUsage, "positions for 46"));
}

// ---- files --------------------------------------------------------------------------------------

std::set<std::string> NamesIn(const fs::path& folder) {
  std::set<std::string> names;
  const auto source = io::OpenModel(folder);
  for (const auto& [name, info] : source->tensors()) names.insert(name);
  return names;
}

// What is saved has the names of Hugging Face's class: those that it wrote itself, without the
// copies of tied parameters, and with both names of an untied decoder's bias.
TEST(BertFiles, SavedNamesAreTheOriginals) {
  const test::TempDir directory;
  for (const char* name : {"bert-model", "bert-mlm", "bert-mlm-untied", "bert-seqcls",
                           "roberta-model", "roberta-mlm", "roberta-multichoice"}) {
    SaveBert(LoadBert(OpenModelFolder(test::kGolden / name)), directory.path());
    EXPECT_EQ(NamesIn(directory.path()), NamesIn(test::kGolden / name)) << name;
  }
}

// The folder with tie_word_embeddings true and the tensors that `change` makes of the model's.
void SaveAsTied(Bert& model, const fs::path& folder,
                const std::function<void(std::vector<io::TensorEntry>&)>& change) {
  SaveBert(model, folder);
  auto entries = WeightEntries(model.parameters());
  change(entries);
  io::WriteSafetensors(folder / "model.safetensors", entries);
  auto fields = io::ReadJsonFile(folder / "config.json");
  fields["tie_word_embeddings"] = true;
  std::ofstream(folder / "config.json") << fields;
}

// What `transformers` 5 makes of a config that ties the decoder and of files that hold one: other
// values are a matrix of their own, equal ones are the word table. The bias that counts is the
// decoder's own, whose other name only stands in for it.
TEST(BertFiles, ATiedConfigWithADecoderInTheFile) {
  const test::TempDir directory;
  for (const char* golden : {"bert-mlm-untied", "roberta-mlm"}) {
    Bert model = LoadBert(OpenModelFolder(test::kGolden / golden));
    const bool bert = model.config().type->bert;
    const std::string head = bert ? "cls.predictions." : "lm_head.";
    const std::string words = bert ? "bert.embeddings.word_embeddings.weight"
                                   : "roberta.embeddings.word_embeddings.weight";
    const idx_t size = model.config().vocab_size;
    Tensor decoder({size, model.config().hidden_size}), bias({size});
    std::fill_n(decoder.data<float>(), decoder.size(), 0.5f);
    std::fill_n(bias.data<float>(), bias.size(), 2.0f);
    const auto with = [&](const Tensor& matrix) {
      SaveAsTied(model, directory.path(), [&](std::vector<io::TensorEntry>& entries) {
        std::erase_if(entries, [&](const io::TensorEntry& entry) {
          return entry.name.starts_with(head + "decoder.");
        });
        entries.push_back(test::EntryOf(head + "decoder.weight", matrix));
        entries.push_back(test::EntryOf(head + "decoder.bias", bias));
        const Tensor other({size});
        std::erase_if(entries,
                      [&](const io::TensorEntry& entry) { return entry.name == head + "bias"; });
        entries.push_back(test::EntryOf(head + "bias", other));
      });
      std::vector<std::string> warnings;
      Bert back = LoadBert(OpenModelFolder(directory.path()), {}, &warnings);
      EXPECT_EQ(warnings.size(), back.config().tied ? 0u : 1u);
      const std::string own = head + (back.config().tied ? "bias" : "decoder.bias");
      EXPECT_EQ(std::as_const(back).parameters().vector(own)(size - 1), 2.0f);
      return back;
    };
    const Bert two = with(decoder);
    EXPECT_FALSE(two.config().tied) << golden;
    EXPECT_EQ(two.parameters().vector(head + "decoder.weight")(7), 0.5f);
    // A file may hold the word table twice.
    const auto table = std::as_const(model).parameters().vector(words);
    std::copy_n(table.data, table.size(), decoder.data<float>());
    EXPECT_TRUE(with(decoder).config().tied) << golden;
  }
}

// The head of pre-training's second task and the pooler that a masked LM lacks are named, and under
// --strict refused.
TEST(BertFiles, AFolderOf2019) {
  std::vector<std::string> warnings;
  LoadTextModel(test::kGolden / "bert-pretraining", {}, &warnings);
  const std::string all = testing::PrintToString(warnings);
  EXPECT_THAT(all, HasSubstr("pooler"));
  EXPECT_THAT(all, HasSubstr("seq_relationship"));
}

// A classifier on a pretrained encoder begins with its pooler, as in the original.
TEST(BertFiles, APretrainedPoolerStaysUnderANewClassifier) {
  LoadOptions options;
  options.head = WantedHead{HeadKind::kSequence, {"a", "b", "c"}, ProblemType::kInferred, 1};
  std::vector<std::string> warnings;
  const auto model = LoadTextModel(test::kGolden / "bert-model", options, &warnings);
  const auto recorded = io::OpenModel(test::kGolden / "bert-model");
  const Tensor pooler = recorded->ReadFloat("pooler.dense.weight");
  const auto loaded = std::as_const(*model).parameters().vector("bert.pooler.dense.weight");
  ASSERT_EQ(loaded.size(), pooler.size());
  EXPECT_TRUE(std::equal(loaded.data, loaded.data + loaded.size(), pooler.data<float>()));
  EXPECT_THAT(testing::PrintToString(warnings),
              HasSubstr("new: classifier.bias, classifier.weight\""));
}

}  // namespace
}  // namespace longspan
