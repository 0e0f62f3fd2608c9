// Encoders whose last layer computes only the rows that a head reads (model/last_rows.h): losses,
// gradients and logits are those of all rows, of which the head then takes its own.
#include "model/last_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "families/bert/bert.h"
#include "families/longformer/longformer.h"
#include "families/longformer/longformer_test.h"
#include "families/modernbert/modernbert.h"
#include "families/modernbert/modernbert_heads.h"
#include "families/modernbert/modernbert_test.h"
#include "families/modernbert/visible_batch.h"
#include "model/hidden_rows.h"
#include "model/post_norm_test.h"
#include "tests/support/compare.h"
#include "tests/support/shared_rows.h"

namespace longspan {
namespace {

using test::ExpectSameStep;
using test::LargestDifference;
using test::LargestOf;
using test::NaiveErrors;
using test::Nudge;
using test::SharedStep;
using test::StepResult;

constexpr HeadKind kFewRows[] = {HeadKind::kMaskedLm, HeadKind::kSequence, HeadKind::kChoice};
constexpr StepDropout kMasks{true, 11};
constexpr float kScale = 0.125f;

// A family: its model, and its head by itself on a table of its own.
struct BertRows {
  using Model = Bert;
  static BertConfig Config(HeadKind head) {
    BertConfig config = BertPreset(BertTypeNamed("bert", "test"), "tiny");
    static_cast<PostNormFields&>(config) = WithDropout(head);
    config.layer_count = 2;
    return config;
  }
  static std::unique_ptr<HeadLayer> Head(const Model& model, ParameterTable& table) {
    const std::string prefix(model.prefix());
    const PostNormFields& c = model.config();
    table.Add(prefix + "embeddings.word_embeddings.weight", {c.vocab_size, c.hidden_size},
              ParameterKind::kMatrix);
    return BertKind::MakeHead(model.config(), prefix, table);
  }
};

struct LongformerRows {
  using Model = Longformer;
  static LongformerConfig Config(HeadKind head) { return WithDropout(head); }
  static std::unique_ptr<HeadLayer> Head(const Model& model, ParameterTable& table) {
    const std::string prefix(model.prefix());
    const PostNormFields& c = model.config();
    table.Add(prefix + "embeddings.word_embeddings.weight", {c.vocab_size, c.hidden_size},
              ParameterKind::kMatrix);
    return LongformerKind::MakeHead(model.config(), prefix, table);
  }
};

struct ModernBertRows {
  using Model = ModernBert;
  static ModernBertConfig Config(HeadKind head) { return WithModernDropout(head); }
  static std::unique_ptr<HeadLayer> Head(const Model& model, ParameterTable& table) {
    const ModernBertConfig& c = model.config();
    const ParameterId words = table.Add("model.embeddings.tok_embeddings.weight",
                                        {c.vocab_size, c.hidden_size}, ParameterKind::kMatrix);
    return MakeModernBertHead(c, words, table);
  }
};

template <class Family>
typename Family::Model NewModel(HeadKind head, DType compute, idx_t tokens, std::uint64_t nudge) {
  typename Family::Model model(Family::Config(head));
  model.ComputeIn(compute);
  model.Initialise(3);
  Perturb(model, 50, 0.3f);
  if (nudge > 0) Nudge(model.parameters(), tokens, nudge);
  model.parameters().AllocateGradients();
  return model;
}

std::vector<float> GradientsOf(const ParameterTable& table) {
  return CopiedView(table.gradients());
}

// The head's loss over all hidden states of a batch, and their gradient. ModernBERT's head sees the
// batch without its padding.
template <class Family>
HeadLoss LossOfAll(Context& context, const typename Family::Model& model, const HeadLayer& head,
                   const ParameterTable& table, const BatchView& batch, Tensor& hidden,
                   Tensor& dhidden) {
  const auto loss = [&](const BatchView& view, Tensor& h, Tensor& dh) {
    const HeadCall call{table, nullptr, view, kScale, kMasks};
    return LossOfHidden(context, head, call, h.view<2>(), dh.view<2>(), true);
  };
  if constexpr (std::is_same_v<typename Family::Model, ModernBert>) {
    const bool by_text = model.config().head != HeadKind::kMaskedLm;
    const auto pad = static_cast<std::int32_t>(model.config().pad_token.value_or(-1));
    const VisibleBatch texts(batch, by_text, pad);
    if (!texts.whole()) {
      Tensor h({texts.n(), hidden.shape()[1]}), dh({texts.n(), hidden.shape()[1]});
      texts.Gather(context, hidden.view<2>(), {0, texts.n()}, h.view<2>());
      const HeadLoss result = loss(texts.view(), h, dh);
      texts.Scatter(context, dh.view<2>(), dhidden.view<2>());
      return result;
    }
    return loss(texts.view(), hidden, dhidden);
  } else {
    return loss(batch, hidden, dhidden);
  }
}

// A step whose encoder computes all rows, forward and back, and whose head stands beside it.
template <class Family>
StepResult StepOverAll(Context& context, HeadKind kind, const BatchView& batch, DType compute,
                       std::uint64_t nudge = 0) {
  const idx_t n = batch.rows * batch.tokens;
  typename Family::Model model = NewModel<Family>(kind, compute, n, nudge);
  ParameterTable table;
  const std::unique_ptr<HeadLayer> head = Family::Head(model, table);
  table.Allocate();
  table.AllocateGradients();
  for (const ParameterInfo& info : table.list()) {
    const View<const float, 1> from = std::as_const(model).parameters().vector(info.name);
    std::copy_n(from.data, info.size, table.Write().vector(info.name).data);
  }
  Tensor hidden({n, model.config().hidden_size}), dhidden({n, model.config().hidden_size});
  model.Encode(context, batch, hidden.view<2>(), {}, kMasks);
  StepResult result;
  result.loss = LossOfAll<Family>(context, model, *head, table, batch, hidden, dhidden).sum;
  model.CotangentGradients(context, batch, std::as_const(dhidden).view<2>(), {kMasks, {}, {}});
  result.gradients = GradientsOf(model.parameters());
  const std::vector<float> of_head = GradientsOf(table);
  for (const ParameterInfo& info : table.list()) {
    const auto to = static_cast<std::size_t>(model.parameters().at(info.name).offset);
    const auto from = static_cast<std::size_t>(info.offset);
    for (std::size_t i = 0; i < static_cast<std::size_t>(info.size); ++i) {
      result.gradients[to + i] += of_head[from + i];
    }
  }
  return result;
}

template <class Family>
StepResult StepOf(Context& context, HeadKind kind, const BatchView& batch, DType compute,
                  const std::vector<bool>& recompute = {}, const StepDropout& masks = kMasks) {
  typename Family::Model model = NewModel<Family>(kind, compute, batch.rows * batch.tokens, 0);
  StepResult result;
  result.loss = model.LossAndGradients(context, batch, {masks, kScale, recompute}).sum;
  result.gradients = GradientsOf(model.parameters());
  return result;
}

// One rank and two, with what is saved and with all computed again.
template <class Family>
void CheckSteps(HeadKind kind, const BatchView& batch, DType compute = DType::kF32) {
  SCOPED_TRACE(fmt::format("head {}, {}", static_cast<int>(kind), DTypeName(compute)));
  Context context(2);
  const idx_t n = batch.rows * batch.tokens;
  const StepResult all = StepOverAll<Family>(context, kind, batch, compute);
  std::vector<StepResult> nudged;
  for (const std::uint64_t nudge : {1, 2, 3, 4}) {
    nudged.push_back(StepOverAll<Family>(context, kind, batch, compute, nudge));
  }
  const typename Family::Model model(Family::Config(kind));
  const ParameterTable& table = model.parameters();
  const StepResult few = StepOf<Family>(context, kind, batch, compute);
  ExpectSameStep(table, all, few, nudged, n);
  const std::vector<bool> every(model.config().layers(), true);
  const StepResult again = StepOf<Family>(context, kind, batch, compute, every);
  EXPECT_EQ(again.loss, few.loss);
  EXPECT_SAME_BITS(again.gradients, few.gradients);
  const StepResult shared =
      SharedStep(2, [&](Context& own) { return StepOf<Family>(own, kind, batch, compute); });
  ExpectSameStep(table, all, shared, nudged, n);
  // Masks of other elements are far outside of that.
  const StepResult other = StepOf<Family>(context, kind, batch, compute, {}, {true, 12});
  EXPECT_GT(NaiveErrors(table, all, other, nudged, n), 20.0);
}

template <class Family>
class LastRowsTest : public testing::Test {};
using Families = testing::Types<BertRows, LongformerRows, ModernBertRows>;
TYPED_TEST_SUITE(LastRowsTest, Families);

// Padding on either side, holes, global tokens.
TYPED_TEST(LastRowsTest, StepsAreThoseOfAllRows) {
  for (const HeadKind head : kFewRows) {
    const PostNormData data(WithDropout(head), head == HeadKind::kChoice ? 4 : 3, 23, 6);
    CheckSteps<TypeParam>(head, data.batch);
  }
  const PostNormData data(WithDropout(HeadKind::kSequence), 3, 23, 2);
  CheckSteps<TypeParam>(HeadKind::kSequence, data.batch, DType::kBF16);
}

// Documents of several lengths in rows, one of them a single token.
TYPED_TEST(LastRowsTest, TextsSideBySide) {
  const std::vector<idx_t> documents = {3, 15, 1, 9, 10};
  for (const HeadKind head : {HeadKind::kMaskedLm, HeadKind::kSequence}) {
    PostNormData data(WithDropout(head), 2, 19, 8);
    const std::vector<std::int32_t> classes = {0, 1, 2, 0, 1};
    data.batch.documents = documents;
    if (head == HeadKind::kSequence) {
      data.batch.labels = classes;
      data.batch.values = {};
    }
    CheckSteps<TypeParam>(head, data.batch);
  }
}

// All rows are read: nothing is gathered. And none: nothing is left to compute.
TYPED_TEST(LastRowsTest, AllLabelsAndNone) {
  PostNormData data(WithDropout(HeadKind::kMaskedLm), 2, 17, 5);
  for (std::uint8_t& role : data.roles) role = std::max(role, kLocalToken);
  for (std::int32_t& label : data.labels) label = std::max(label, 0);
  CheckSteps<TypeParam>(HeadKind::kMaskedLm, data.batch);

  std::fill(data.labels.begin(), data.labels.end(), kIgnoreLabel);
  Context context(2);
  const StepResult none = StepOf<TypeParam>(context, HeadKind::kMaskedLm, data.batch, DType::kF32);
  EXPECT_EQ(none.loss, 0.0);
  EXPECT_EQ(LargestOf(none.gradients), 0.0);
}

// Logits of texts are those of the hidden states of all tokens.
TYPED_TEST(LastRowsTest, LogitsAreThoseOfAllRows) {
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kChoice}) {
    for (const DType compute : {DType::kF32, DType::kBF16}) {
      const PostNormData data(WithDropout(head), 4, 23, 6);
      const idx_t n = 4 * 23;
      Context context(2);
      std::vector<std::vector<float>> all;  // of the weights, then of nudged ones
      for (const std::uint64_t nudge : {0, 1, 2, 3, 4}) {
        const auto model = NewModel<TypeParam>(head, compute, n, nudge);
        Tensor hidden({n, model.config().hidden_size});
        model.Encode(context, data.batch, hidden.view<2>());
        const Tensor logits =
            model.Logits(context, data.batch, std::as_const(hidden).template view<2>());
        all.emplace_back(logits.data<float>(), logits.data<float>() + logits.size());
      }
      const auto model = NewModel<TypeParam>(head, compute, n, 0);
      const Tensor logits = model.LogitsOfTexts(context, data.batch);
      const std::vector<float> few(logits.data<float>(), logits.data<float>() + logits.size());
      double naive = static_cast<double>(n) * 0x1p-24 * LargestOf(all[0]);
      double moved = 0.0;
      for (const auto& nudged : all) moved = std::max(moved, LargestDifference(all[0], nudged));
      ASSERT_EQ(few.size(), all[0].size());
      EXPECT_LE(LargestDifference(all[0], few), 2.0 * (naive + moved));
    }
  }
}

// The work of a step counts what it computes: two labels more are two rows more of the last layer.
TYPED_TEST(LastRowsTest, WorkIsThatOfTheRowsRead) {
  PostNormData data(WithDropout(HeadKind::kMaskedLm), 1, 12, 1);
  std::fill(data.roles.begin(), data.roles.end(), kLocalToken);
  typename TypeParam::Model model(TypeParam::Config(HeadKind::kMaskedLm));
  ParameterTable table;
  const std::unique_ptr<HeadLayer> head = TypeParam::Head(model, table);
  const auto gflop = [&](idx_t labels) {
    std::fill(data.labels.begin(), data.labels.end(), kIgnoreLabel);
    std::fill_n(data.labels.begin(), labels, 1);
    return model.StepGflop(data.batch);
  };
  const auto c = static_cast<double>(model.config().hidden_size);
  const auto f = static_cast<double>(model.config().feed_forward_size);
  const double matrices = std::is_same_v<TypeParam, ModernBertRows> ? 3.0 : 2.0;
  const double row = 6.0 * (c * c + matrices * c * f);
  const double of_head = 3.0 * (head->ForwardFlop(1, 5) - head->ForwardFlop(1, 3));
  EXPECT_NEAR(gflop(5) - gflop(3), (2.0 * row + of_head) * 1e-9, 1e-12);
  // Frozen matrices have no products for their gradients, a third of the work.
  std::vector<bool> frozen;
  const std::string last = fmt::format(".{}.", model.config().layers() - 1);
  for (const ParameterInfo& info : model.parameters().list()) {
    frozen.push_back(info.kind == ParameterKind::kMatrix && info.name.find(last) != info.name.npos);
  }
  model.parameters().Freeze(frozen);
  EXPECT_NEAR(gflop(5) - gflop(3), (2.0 * row * 2.0 / 3.0 + of_head) * 1e-9, 1e-12);
}

}  // namespace
}  // namespace longspan
