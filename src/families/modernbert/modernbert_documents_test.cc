// Documents side by side in a ModernBERT's rows: under every head the value and the gradient of the
// documents run apart.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "base/arena.h"
#include "families/modernbert/family.h"
#include "families/modernbert/modernbert_test.h"
#include "model/step_memory.h"
#include "tests/support/compare.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

constexpr idx_t kPackedRows = 2, kPackedTokens = 80;
// Of one token, below a window, of several, that end with the row; the last is padding.
const std::vector<idx_t> kDocuments = {5, 40, 1, 34, 61, 3, 11, 5};
constexpr idx_t kTexts = 8, kEmpty = 5;

// Rows of documents with targets for the head, and the same documents as batches of their own.
struct PackedModern {
  std::vector<std::int32_t> ids, labels, starts, ends;
  std::vector<std::uint8_t> roles;
  BatchView batch;

  explicit PackedModern(const ModernBertConfig& config) {
    Rng rng(17);
    const auto below = [&](idx_t n) { return static_cast<std::int32_t>(rng.Below(n)); };
    const bool tokens = config.head == HeadKind::kMaskedLm || config.head == HeadKind::kToken;
    const idx_t n = kPackedRows * kPackedTokens;
    for (idx_t t = 0; t < n; ++t) {
      const bool pad = t >= n - kEmpty;
      ids.push_back(below(config.vocab_size));
      roles.push_back(pad ? kHiddenToken : kLocalToken);
      if (!tokens) continue;
      labels.push_back(
          pad || rng.Below(3) > 0
              ? kIgnoreLabel
              : below(config.head == HeadKind::kToken ? config.label_count() : config.vocab_size));
    }
    // Padding before a document's tokens and behind them, and a hole.
    for (const std::size_t hidden : {5, 6, 44, 90}) {
      roles[hidden] = kHiddenToken;
      if (tokens) labels[hidden] = kIgnoreLabel;
    }
    // A text of which nothing is seen has a result all the same, and so a place among the others.
    const bool by_text = !tokens && config.head != HeadKind::kNone;
    if (by_text) std::fill_n(roles.begin() + 141, 3, kHiddenToken);
    batch.rows = kPackedRows;
    batch.tokens = kPackedTokens;
    batch.choices = config.head == HeadKind::kChoice ? 2 : 1;
    const bool texts = config.head == HeadKind::kSequence || config.head == HeadKind::kChoice;
    for (idx_t q = 0; texts && q < kTexts / batch.choices; ++q) {
      const bool last = q + 1 == kTexts / batch.choices;
      labels.push_back(last ? kIgnoreLabel : static_cast<std::int32_t>(q % 2));
    }
    if (config.head == HeadKind::kQuestion) {
      // Inside; at the ends; in the padding; before the text, which is 0; after it: ignored.
      starts = {4, 2, 0, 33, -1, 3, 10, 0};
      ends = {0, 38, 1, 0, 60, 2, 12, 9};
    }
    batch.ids = ids;
    batch.roles = {roles.data(), {kPackedRows, kPackedTokens}};
    batch.labels = labels;
    batch.starts = starts;
    batch.ends = ends;
    batch.documents = kDocuments;
  }
  PackedModern(const PackedModern&) = delete;
  PackedModern& operator=(const PackedModern&) = delete;

  // Documents [first, first + choices) as rows.
  Batch Apart(idx_t first) const {
    Batch apart;
    apart.Reset(batch.choices,
                *std::max_element(&kDocuments[static_cast<std::size_t>(first)],
                                  &kDocuments[static_cast<std::size_t>(first)] + batch.choices),
                9);
    const bool tokens = labels.size() == ids.size();
    if (tokens) apart.labels.assign(apart.ids.size(), kIgnoreLabel);
    ForEachDocument(kDocuments, [&](idx_t d, idx_t begin, idx_t length) {
      if (d < first || d >= first + batch.choices) return;
      const auto to = (d - first) * apart.tokens;
      std::copy_n(ids.begin() + begin, length, apart.ids.begin() + to);
      std::copy_n(roles.begin() + begin, length, apart.roles.begin() + to);
      if (tokens) std::copy_n(labels.begin() + begin, length, apart.labels.begin() + to);
      const auto at = static_cast<std::size_t>(d);
      if (!starts.empty()) apart.starts.push_back(starts[at]);
      if (!ends.empty()) apart.ends.push_back(ends[at]);
    });
    if (!tokens && !labels.empty()) {
      apart.labels = {labels[static_cast<std::size_t>(first / batch.choices)]};
    }
    return apart;
  }
};

double DistanceOf(std::span<const float> a, std::span<const float> b) {
  std::vector<float> difference(a.begin(), a.end());
  for (std::size_t i = 0; i < b.size(); ++i) difference[i] -= b[i];
  return NormOf(difference);
}

ModernBert PerturbedModern(const ModernBertConfig& config) {
  ModernBert model(config);
  model.Initialise(5);
  Perturb(model, 6, 0.1f);
  model.parameters().AllocateGradients();
  return model;
}

class ModernBertDocuments : public testing::TestWithParam<HeadKind> {};

TEST_P(ModernBertDocuments, AreWhatTheyAreApart) {
  for (const bool mean : {false, true}) {
    ModernBertConfig config = SmallModernBert(GetParam());
    config.mean_pooling = mean;
    const PackedModern packed(config);
    const idx_t choices = packed.batch.choices;
    Context context(2);
    ModernBert model = PerturbedModern(config), alone = PerturbedModern(config);
    const EncoderStep step{{}, 0.01f, {}};
    Tensor hidden({kPackedRows * kPackedTokens, config.hidden_size});
    model.Encode(context, packed.batch, hidden.view<2>());
    const HeadLoss together = model.LossAndGradients(context, packed.batch, step);
    const Tensor logits = model.Logits(context, packed.batch, std::as_const(hidden).view<2>());
    const bool by_token = logits.shape()[0] == kPackedRows * kPackedTokens;
    EXPECT_EQ(logits.shape()[0], by_token ? kPackedRows * kPackedTokens : kTexts / choices);

    double sum = 0.0, evaluated = 0.0, gflop = 0.0;
    const float* at = logits.data<float>();
    for (idx_t d = 0; d < kTexts; d += choices) {
      const Batch batch = packed.Apart(d);
      BatchView view = batch.view();
      view.choices = choices;
      Tensor own({view.rows * view.tokens, config.hidden_size});
      alone.Encode(context, view, own.view<2>());
      const Tensor expected = alone.Logits(context, view, std::as_const(own).view<2>());
      const bool padding = d + choices == kTexts;
      for (idx_t i = 0; i < expected.size(); ++i, ++at) {
        if (!padding) {
          EXPECT_NEAR(*at, expected.data<float>()[i], 1e-5) << d;
        }
      }
      sum += alone.LossAndGradients(context, view, step).sum;
      evaluated += alone.Loss(context, view).sum;
      gflop += alone.StepGflop(view);
    }
    EXPECT_GT(sum, 1.0);
    EXPECT_NEAR(together.sum, sum, 1e-5 * sum);
    EXPECT_NEAR(model.Loss(context, packed.batch).sum, evaluated, 1e-5 * evaluated);
    const std::vector<float> gradients = CopiedView(model.parameters().gradients());
    const std::vector<float> apart = CopiedView(alone.parameters().gradients());
    EXPECT_GT(NormOf(apart), 1e-3);
    EXPECT_LT(DistanceOf(gradients, apart), 1e-5 * NormOf(apart));
    // A row of padding alone computes a token, a document of it does not, unless it has a target.
    EXPECT_NEAR(model.StepGflop(packed.batch), gflop, (by_token ? 0.02 : 1e-9) * gflop);

    // With other borders they are something else: the comparison would notice.
    BatchView joined = packed.batch;
    const std::vector<idx_t> others = {5, 39, 1, 35, 61, 3, 11, 5};
    joined.documents = others;
    std::fill_n(alone.parameters().gradients().data, alone.parameters().gradients().size(), 0.0f);
    alone.LossAndGradients(context, joined, step);
    EXPECT_GT(DistanceOf(CopiedView(alone.parameters().gradients()), apart), 1e-3 * NormOf(apart));
  }
}

TEST_P(ModernBertDocuments, SameBitsForAnyThreadsAndRecomputation) {
  ModernBert model(WithModernDropout(GetParam()));
  model.Initialise(4);
  const PackedModern packed(model.config());
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    return Step(context, model, packed.batch, {{true, 11}, {}, {}});
  });
  Context context(2);
  EXPECT_SAME_BITS(Step(context, model, packed.batch, {{true, 11}, {}, {true, true, true}}),
                   Step(context, model, packed.batch, {{true, 11}, {}, {}}));
  EXPECT_NE(Step(context, model, packed.batch, {{true, 11}, {}, {}}),
            Step(context, model, packed.batch, {{true, 12}, {}, {}}));
}

TEST_P(ModernBertDocuments, InBf16TheyAreNearlyWhatTheyAreApart) {
  const ModernBertConfig config = SmallModernBert(GetParam());
  const PackedModern packed(config);
  Context context(2);
  ModernBert model(config);
  model.Initialise(5);
  model.ComputeIn(DType::kBF16);
  double sum = 0.0;
  for (idx_t d = 0; d < kTexts; d += packed.batch.choices) {
    const Batch batch = packed.Apart(d);
    BatchView view = batch.view();
    view.choices = packed.batch.choices;
    sum += model.Loss(context, view).sum;
  }
  EXPECT_NEAR(model.Loss(context, packed.batch).sum, sum, 5e-3 * sum);
}

INSTANTIATE_TEST_SUITE_P(Heads, ModernBertDocuments,
                         testing::Values(HeadKind::kMaskedLm, HeadKind::kToken, HeadKind::kQuestion,
                                         HeadKind::kSequence, HeadKind::kChoice),
                         [](const auto& head) {
                           std::string name(NameOf(head.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Other words in one document: not a bit of what another one gives or gets.
TEST(ModernBertDocumentsCompany, TheyDoNotSeeEachOther) {
  constexpr idx_t kBegin = 80, kEnd = 141, kOwn = 8;  // the fifth, whose words no other has
  ModernBertConfig config = SmallModernBert(HeadKind::kNone);
  config.pad_token.reset();
  PackedModern packed(config);
  const idx_t first = config.vocab_size - kOwn, channels = config.hidden_size;
  ModernBert model = PerturbedModern(config);
  Tensor cotangent({kPackedRows * kPackedTokens, channels});
  const auto noise = test::RandomNormal(9, cotangent.size());
  std::copy(noise.begin(), noise.end(), cotangent.data<float>());
  Context context(2);
  const auto run = [&](idx_t shift) {
    for (idx_t t = 0; t < kPackedRows * kPackedTokens; ++t) {
      std::int32_t& id = packed.ids[static_cast<std::size_t>(t)];
      const bool own = t >= kBegin && t < kEnd;
      id = static_cast<std::int32_t>(own ? first + (id + t * shift) % kOwn : id % first);
    }
    const View<float, 1> all = model.parameters().gradients();
    std::fill_n(all.data, all.size(), 0.0f);
    model.CotangentGradients(context, packed.batch, cotangent.view<2>(), {});
    Tensor hidden({kPackedRows * kPackedTokens, channels});
    model.Encode(context, packed.batch, hidden.view<2>());
    const auto words = model.parameters().matrix_gradient("embeddings.tok_embeddings.weight");
    return std::pair(std::vector<float>(hidden.data<float>(), hidden.data<float>() + hidden.size()),
                     std::vector<float>(words.data, words.data + first * channels));
  };
  const auto [before, words_before] = run(0);
  const auto [after, words_after] = run(3);
  const auto tokens = [&](const std::vector<float>& hidden, idx_t begin, idx_t end) {
    return std::vector<float>(hidden.begin() + begin * channels, hidden.begin() + end * channels);
  };
  EXPECT_SAME_BITS(tokens(after, 0, kBegin), tokens(before, 0, kBegin));
  EXPECT_SAME_BITS(tokens(after, kEnd, 160), tokens(before, kEnd, 160));
  EXPECT_NE(tokens(after, kBegin, kEnd), tokens(before, kBegin, kEnd));
  EXPECT_SAME_BITS(words_after, words_before);
  EXPECT_GT(NormOf(words_before), 1e-3);
}

// The attention of a text has the bits that it has alone, given its queries, keys and values.
TEST(ModernBertDocumentsCompany, AttentionHasTheBitsOfTheTextAlone) {
  const ModernBertConfig config = SmallModernBert(HeadKind::kNone);
  const PackedModern packed(config);
  ModernBert model = PerturbedModern(config);
  Context context(2);
  Tensor hidden({kPackedRows * kPackedTokens, config.hidden_size});
  int layers = 0;
  const ModernBertObserver look = [&](std::size_t, const ModernBertAttentionTensors& seen) {
    ++layers;
    const std::span<const idx_t> starts = seen.texts.starts();
    const TokenRoles roles = seen.texts.roles();
    ASSERT_EQ(starts.size(), static_cast<std::size_t>(kTexts));  // padding went
    for (std::size_t d = 0; d + 1 < starts.size(); ++d) {
      const idx_t begin = starts[d], length = starts[d + 1] - begin;
      const std::vector<idx_t> own = {0, length};
      const auto part = [&](const View<const float, 4>& all) {
        View<const float, 4> view = all;
        view.data += begin * all.stride[2];
        view.extent[2] = length;
        return view;
      };
      const Qkv qkv{part(seen.qkv.q), part(seen.qkv.k), part(seen.qkv.v)};
      const TokenRoles visible(&roles(0, begin), {1, length}, roles.stride);
      std::vector<float> out(static_cast<std::size_t>(length * config.hidden_size)),
          lse(static_cast<std::size_t>(length * config.heads)), expected;
      const AttentionSaved saved{{out.data(), {1, config.heads, length, config.head_size()}},
                                 {lse.data(), {1, config.heads, length}}};
      if (seen.window) {
        WindowSpec spec;
        spec.left = spec.right = *seen.window;
        spec.starts = own;
        WindowForward(context, spec, qkv, visible, saved);
      } else {
        FullSpec spec;
        spec.starts = own;
        FullForward(context, spec, qkv, visible, saved);
      }
      for (idx_t h = 0; h < config.heads; ++h) {
        for (idx_t t = 0; t < length; ++t) expected.push_back(seen.lse(0, h, begin + t));
      }
      SCOPED_TRACE(d);
      EXPECT_SAME_BITS(lse, expected);
    }
  };
  model.Encode(context, packed.batch, hidden.view<2>(), {nullptr, &look});
  EXPECT_EQ(layers, 3);
}

// What `--memory` and `plan` count for whole rows is enough for rows of documents.
TEST(ModernBertDocumentsMemory, IsNoMoreThanThatOfWholeRows) {
  for (const HeadKind head :
       {HeadKind::kMaskedLm, HeadKind::kToken, HeadKind::kQuestion, HeadKind::kSequence}) {
    ModernBertConfig config = WithModernDropout(head);
    config.problem = ProblemType::kSingleLabel;
    const PackedModern packed(config);
    for (const std::size_t recompute : {0, 3}) {
      StepPolicy policy;
      policy.recompute = recompute;
      const StepNeeds needs =
          RehearseStep(*MakeModelConfig(config), kPackedRows, kPackedTokens, 2, policy);
      Context context(2);
      ModernBert model(config);
      model.Initialise(1);
      EncoderStep step{{true, 3}, {}, {}};
      step.recompute.assign(config.layers(), recompute > 0);
      Step(context, model, packed.batch, step);
      EXPECT_LE(context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch)
          << ModernBertClass(head);
    }
  }
}

// What stays empty of a row is not computed: a hidden document, or, where no role says what is
// hidden, one of padding's id alone. Roles that say that it is seen are believed.
TEST(ModernBertDocumentsPadding, IsNotComputed) {
  ModernBertConfig config = SmallModernBert(HeadKind::kToken);
  PackedModern packed(config);
  const ModernBert model = PerturbedModern(config);
  const auto pad = static_cast<std::int32_t>(*config.pad_token);
  const auto texts = [&](const BatchView& batch) {
    return VisibleBatch(batch, false, pad).starts().size() - 1;
  };
  EXPECT_EQ(texts(packed.batch), 7u);
  BatchView without = packed.batch;
  without.roles = {};
  EXPECT_EQ(texts(without), 8u);
  std::fill(packed.ids.end() - kEmpty, packed.ids.end(), pad);
  EXPECT_EQ(texts(without), 7u);
  EXPECT_EQ(VisibleBatch(without, true, pad).starts().size() - 1, 8u);  // it has a result
  std::fill(packed.roles.begin(), packed.roles.end(), kLocalToken);
  EXPECT_EQ(texts(packed.batch), 8u);
  Context context(2);
  Tensor hidden({kPackedRows * kPackedTokens, config.hidden_size});
  model.Encode(context, without, hidden.view<2>());
  for (idx_t t = 0; t < kEmpty; ++t) {
    EXPECT_EQ(hidden.view<2>()(kPackedRows * kPackedTokens - 1 - t, 0), 0.0f) << t;
  }
}

}  // namespace
}  // namespace longspan
