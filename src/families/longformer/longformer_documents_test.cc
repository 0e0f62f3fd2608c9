// Documents side by side in a Longformer's rows: the value and the gradient of the documents run
// apart.
#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "families/longformer/family.h"
#include "families/longformer/longformer_test.h"
#include "model/documents.h"
#include "model/global_policy.h"
#include "model/step_memory.h"
#include "model/text_model.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Throws;

constexpr idx_t kRows = 2, kTokens = 80;
// Of one token, below a window, of several, that end with the row; the last is padding.
const std::vector<idx_t> kDocuments = {5, 40, 1, 34, 61, 3, 16};
constexpr idx_t kPadding = 16;

enum class Globals { kNone, kFirst, kMany };
struct Kind {
  const char* name;
  HeadKind head;
  Globals globals;
};

// Positions for the longest document alone: a row has more tokens than the model has positions.
LongformerConfig ConfigFor(HeadKind head) {
  LongformerConfig config = SmallLongformer(head);
  config.max_positions = 61 + config.pad_token + 1;
  return config;
}

struct Packed {
  std::vector<std::int32_t> ids, types, labels;
  std::vector<std::uint8_t> roles;
  BatchView batch;

  Packed(const LongformerConfig& config, Globals globals) {
    Rng rng(17);
    const auto below = [&](idx_t n) { return static_cast<std::int32_t>(rng.Below(n)); };
    const idx_t n = kRows * kTokens;
    for (idx_t t = 0; t < n; ++t) {
      const bool pad = t >= n - kPadding;
      const std::int32_t id = below(config.vocab_size - 1);
      ids.push_back(pad ? static_cast<std::int32_t>(config.pad_token)
                        : id + (id >= config.pad_token ? 1 : 0));
      types.push_back(below(config.token_types));
      const bool many = globals == Globals::kMany && rng.Below(3) > 0;
      roles.push_back(pad ? kHiddenToken : (many ? kGlobalToken : kLocalToken));
      const bool token = config.head == HeadKind::kToken;
      labels.push_back(pad || rng.Below(3) > 0
                           ? kIgnoreLabel
                           : below(token ? config.label_count() : config.vocab_size));
    }
    batch.rows = kRows;
    batch.tokens = kTokens;
    batch.ids = ids;
    batch.token_types = types;
    batch.roles = {roles.data(), {kRows, kTokens}};
    if (config.head != HeadKind::kNone) batch.labels = labels;
    batch.documents = kDocuments;
    if (globals == Globals::kFirst) {
      GlobalPolicy::Parse("first:1").Apply(InfoOf(config), ids, kRows, kTokens, roles, kDocuments);
    }
  }
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;

  // One document as a batch of its own.
  BatchView Alone(idx_t begin, idx_t length) const {
    const auto at = static_cast<std::size_t>(begin), count = static_cast<std::size_t>(length);
    BatchView alone;
    alone.rows = 1;
    alone.tokens = length;
    alone.ids = batch.ids.subspan(at, count);
    alone.token_types = batch.token_types.subspan(at, count);
    alone.roles = {roles.data() + begin, {1, length}};
    if (!batch.labels.empty()) alone.labels = batch.labels.subspan(at, count);
    return alone;
  }
};

double Norm(std::span<const float> x) {
  double sum = 0.0;
  for (const float value : x) sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}
double Distance(std::span<const float> a, std::span<const float> b) {
  std::vector<float> difference(a.begin(), a.end());
  for (std::size_t i = 0; i < b.size(); ++i) difference[i] -= b[i];
  return Norm(difference);
}

std::vector<float> Numbers(const View<float, 2>& rows) {
  return {rows.data, rows.data + rows.size()};
}

class LongformerDocuments : public testing::TestWithParam<Kind> {};

TEST_P(LongformerDocuments, AreWhatTheyAreApart) {
  const auto [name, head, globals] = GetParam();
  const LongformerConfig config = ConfigFor(head);
  const Packed packed(config, globals);
  Context context(2);
  Longformer model(config), alone(config);
  for (Longformer* m : {&model, &alone}) {
    m->Initialise(5);
    Perturb(*m, 6, 0.1f);
    m->parameters().AllocateGradients();
  }
  const LongformerStep step{{}, 0.01f, {}};
  const HeadLoss together = model.LossAndGradients(context, packed.batch, step);
  const idx_t channels = config.hidden_size;
  Tensor hidden({kRows * kTokens, channels});
  model.Encode(context, packed.batch, hidden.view<2>());

  double sum = 0.0, evaluated = 0.0, gflop = 0.0;
  idx_t counted = 0;
  ForEachDocument(kDocuments, [&](idx_t d, idx_t begin, idx_t length) {
    const BatchView batch = packed.Alone(begin, length);
    Tensor own({length, channels});
    alone.Encode(context, batch, own.view<2>());
    const auto part = Numbers(hidden.view<2>().Rows(begin, length));
    const auto apart = Numbers(own.view<2>());
    const bool padding = d + 1 == static_cast<idx_t>(kDocuments.size());
    if (!padding) {
      EXPECT_LT(Distance(part, apart), 1e-5 * Norm(apart)) << "document " << d;
    }
    gflop += alone.StepGflop(batch);
    const HeadLoss one = alone.LossAndGradients(context, batch, step);
    evaluated += alone.Loss(context, batch).sum;
    sum += one.sum;
    counted += one.counted;
  });
  EXPECT_EQ(together.counted, counted);
  EXPECT_GT(counted, 30);
  EXPECT_NEAR(together.sum, sum, 1e-5 * sum);
  EXPECT_NEAR(model.Loss(context, packed.batch).sum, evaluated, 1e-5 * evaluated);
  const auto gradients = CopiedView(model.parameters().gradients());
  const auto apart = CopiedView(alone.parameters().gradients());
  EXPECT_GT(Norm(apart), 1e-3);
  EXPECT_LT(Distance(gradients, apart), 1e-5 * Norm(apart));
  EXPECT_NEAR(model.StepGflop(packed.batch), gflop, 1e-9 * gflop);

  // With fewer borders they are something else: the comparison would notice.
  BatchView joined = packed.batch;
  const std::vector<idx_t> two = {46, 34, 61, 3, 16};
  joined.documents = two;
  std::fill_n(alone.parameters().gradients().data, alone.parameters().gradients().size(), 0.0f);
  alone.LossAndGradients(context, joined, step);
  EXPECT_GT(Distance(CopiedView(alone.parameters().gradients()), apart), 1e-3 * Norm(apart));
}

// Other words in one document: not a bit of what another one gives or gets.
TEST_P(LongformerDocuments, DoNotSeeEachOther) {
  const auto [name, head, globals] = GetParam();
  LongformerConfig config = ConfigFor(HeadKind::kNone);
  Packed packed(config, globals);
  // The fifth document has words that no other has, before and after.
  constexpr idx_t kBegin = 80, kEnd = 141, kOwn = 8;
  const auto own_words = [&](idx_t shift) {
    for (idx_t t = 0; t < kRows * kTokens; ++t) {
      std::int32_t& id = packed.ids[static_cast<std::size_t>(t)];
      const bool own = t >= kBegin && t < kEnd;
      if (id == config.pad_token) continue;
      const idx_t first = config.vocab_size - kOwn;
      if (own) id = static_cast<std::int32_t>(first + (id + t * shift) % kOwn);
      if (!own && id >= first) id -= static_cast<std::int32_t>(kOwn);
      if (id == config.pad_token) id = 5;
    }
  };
  Context context(2);
  Longformer model(config);
  model.Initialise(5);
  Perturb(model, 6, 0.1f);
  Tensor cotangent({kRows * kTokens, config.hidden_size});
  const auto noise = test::RandomNormal(9, cotangent.size());
  std::copy(noise.begin(), noise.end(), cotangent.data<float>());
  const auto run = [&] {
    model.parameters().AllocateGradients();
    const View<float, 1> all = model.parameters().gradients();
    std::fill_n(all.data, all.size(), 0.0f);
    model.CotangentGradients(context, packed.batch, cotangent.view<2>(), {});
    Tensor hidden({kRows * kTokens, config.hidden_size});
    model.Encode(context, packed.batch, hidden.view<2>());
    const auto words = model.parameters().matrix_gradient("embeddings.word_embeddings.weight");
    return std::pair(Numbers(hidden.view<2>()), Numbers(words.Rows(0, config.vocab_size - kOwn)));
  };
  own_words(0);
  const auto [before, words_before] = run();
  own_words(3);
  const auto [after, words_after] = run();
  const auto tokens = [&](const std::vector<float>& hidden, idx_t begin, idx_t end) {
    return std::vector<float>(hidden.begin() + begin * config.hidden_size,
                              hidden.begin() + end * config.hidden_size);
  };
  EXPECT_SAME_BITS(tokens(after, 0, kBegin), tokens(before, 0, kBegin));
  const idx_t real = kRows * kTokens - kPadding;
  EXPECT_SAME_BITS(tokens(after, kEnd, real), tokens(before, kEnd, real));
  EXPECT_NE(tokens(after, kBegin, kEnd), tokens(before, kBegin, kEnd));
  EXPECT_SAME_BITS(words_after, words_before);
  EXPECT_GT(Norm(words_before), 1e-3);
}

TEST_P(LongformerDocuments, SameBitsForAnyThreadsAndRecomputation) {
  const auto [name, head, globals] = GetParam();
  LongformerConfig config = ConfigFor(head);
  config.hidden_dropout = 0.2;
  config.attention_dropout = 0.3;
  Longformer model(config);
  model.Initialise(4);
  const Packed packed(config, globals);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    return Step(context, model, packed.batch, {{true, 11}, {}, {}});
  });
  Context context(2);
  EXPECT_SAME_BITS(Step(context, model, packed.batch, {{true, 11}, {}, {true, true}}),
                   Step(context, model, packed.batch, {{true, 11}, {}, {}}));
  // Each document draws by itself, so two of the same words get different masks.
  EXPECT_NE(Step(context, model, packed.batch, {{true, 11}, {}, {}}),
            Step(context, model, packed.batch, {{true, 12}, {}, {}}));
}

TEST_P(LongformerDocuments, InBf16TheyAreNearlyWhatTheyAreApart) {
  const auto [name, head, globals] = GetParam();
  const LongformerConfig config = ConfigFor(head);
  const Packed packed(config, globals);
  Context context(2);
  Longformer model(config);
  model.Initialise(5);
  model.ComputeIn(DType::kBF16);
  double sum = 0.0;
  ForEachDocument(kDocuments, [&](idx_t, idx_t begin, idx_t length) {
    sum += model.Loss(context, packed.Alone(begin, length)).sum;
  });
  EXPECT_NEAR(model.Loss(context, packed.batch).sum, sum, 5e-3 * sum);
}

INSTANTIATE_TEST_SUITE_P(Kinds, LongformerDocuments,
                         testing::Values(Kind{"none", HeadKind::kMaskedLm, Globals::kNone},
                                         Kind{"first", HeadKind::kMaskedLm, Globals::kFirst},
                                         Kind{"many", HeadKind::kMaskedLm, Globals::kMany},
                                         Kind{"token_classes", HeadKind::kToken, Globals::kFirst}),
                         [](const auto& kind) { return std::string(kind.param.name); });

// What `--memory` and `plan` count for whole rows is enough for rows of documents.
TEST(LongformerDocumentsMemory, IsNoMoreThanThatOfWholeRows) {
  const LongformerConfig config = ConfigFor(HeadKind::kMaskedLm);
  const Packed packed(config, Globals::kNone);  // as a rehearsal has it
  for (const bool recompute : {false, true}) {
    StepPolicy policy;
    policy.recompute = recompute ? config.layers() : 0;
    const StepNeeds needs =
        RehearseStep(*MakeModelConfig(WithPositions(config, kTokens)), kRows, kTokens, 3, policy);
    Context context(3);
    Longformer model(config);
    model.Initialise(1);
    LongformerStep step{{true, 3}, {}, {}};
    if (recompute) step.recompute.assign(config.layers(), true);
    Step(context, model, packed.batch, step);
    EXPECT_LE(context.arena().most_capacity(), needs.memory.scratch);
  }
}

TEST(LongformerDocumentsGlobals, ThePolicyIsAppliedToEach) {
  const LongformerConfig config = SmallLongformer(HeadKind::kMaskedLm);
  const std::vector<idx_t> documents = {3, 2, 3, 4, 4};
  std::vector<std::int32_t> ids = {5, 6, 7, 8, 5, 1, 1, 1, 5, 6, 7, 8, 9, 9, 5, 9};
  const std::vector<std::uint8_t> roles = {1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1};
  const auto marked = [&](const char* policy) {
    std::vector<std::uint8_t> result = roles;
    GlobalPolicy::Parse(policy).Apply(InfoOf(config), ids, 2, 8, result, documents);
    std::string text;
    for (const std::uint8_t role : result) text += static_cast<char>('0' + role);
    return text;
  };
  EXPECT_EQ(marked("auto"), "1111100011110111");
  EXPECT_EQ(marked("first:1"), "2112100021110211");
  EXPECT_EQ(marked("every:2"), "2122100021210121");
  EXPECT_EQ(marked("ids:0,2"), "2122100021210121");
  EXPECT_EQ(marked("token:5"), "2111200021110121");
}

TEST(LongformerDocumentsErrors, FillTheRows) {
  Context context(1);
  const LongformerConfig config = SmallLongformer(HeadKind::kMaskedLm);
  Longformer model(config);
  model.Initialise(1);
  LongformerData data(config, 2, 16, 3);
  const auto refused = [&](const std::vector<idx_t>& documents, const char* says) {
    data.batch.documents = documents;
    EXPECT_TRUE(Throws([&] { model.Loss(context, data.batch); }, ErrorCode::kUsage, says)) << says;
  };
  refused({16, 17}, "a document of 17 tokens at token 16 of rows of 16");
  refused({10, 10, 12}, "a document of 10 tokens at token 10");
  refused({16, 0, 16}, "a document of 0 tokens");
  refused({16, 8}, "documents of 24 tokens together in 2 rows of 16");
  const std::vector<idx_t> whole = {16, 16};
  data.batch.documents = whole;
  const LongformerObserver look = [](std::size_t, const LongformerAttentionTensors&) {};
  Tensor hidden({32, config.hidden_size});
  EXPECT_TRUE(Throws(
      [&] {
        model.Encode(context, data.batch, hidden.view<2>(), {nullptr, &look});
      },
      ErrorCode::kUsage, "attention is shown of whole rows"));
  // Two targets for three documents.
  const std::vector<idx_t> three = {16, 10, 6};
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kQuestion}) {
    const LongformerConfig judge = SmallLongformer(head);
    Longformer classifier(judge);
    LongformerData labelled(judge, 2, 16, 3);
    labelled.batch.documents = three;
    EXPECT_TRUE(Throws([&] { classifier.Loss(context, labelled.batch); }, ErrorCode::kUsage, "3"));
  }
}

// Places of answers count from a document's first token, and compete with its tokens alone.
TEST(LongformerAnswers, OfDocumentsAreThoseOfTheTexts) {
  const LongformerConfig config = ConfigFor(HeadKind::kQuestion);
  Packed packed(config, Globals::kMany);
  // Inside; at the ends; before the text, which is 0; after the text, which is ignored.
  const std::vector<std::int32_t> starts = {4, 39, 0, -1, 60, 3, 16},
                                  ends = {0, 39, 1, 33, 7, 2, 20};
  packed.batch.labels = {};
  packed.batch.starts = starts;
  packed.batch.ends = ends;
  Context context(2);
  Longformer model(config), alone(config);
  for (Longformer* m : {&model, &alone}) {
    m->Initialise(5);
    Perturb(*m, 6, 0.1f);
    m->parameters().AllocateGradients();
  }
  const LongformerStep step{{}, 0.01f, {}};
  const HeadLoss together = model.LossAndGradients(context, packed.batch, step);
  double sum = 0.0, evaluated = 0.0;
  ForEachDocument(kDocuments, [&](idx_t d, idx_t begin, idx_t length) {
    BatchView batch = packed.Alone(begin, length);
    batch.starts = std::span(starts).subspan(static_cast<std::size_t>(d), 1);
    batch.ends = std::span(ends).subspan(static_cast<std::size_t>(d), 1);
    sum += alone.LossAndGradients(context, batch, step).sum;
    evaluated += alone.Loss(context, batch).sum;
  });
  EXPECT_EQ(together.counted, 5);
  EXPECT_NEAR(together.sum, sum, 1e-5 * sum);
  EXPECT_NEAR(model.Loss(context, packed.batch).sum, evaluated, 1e-5 * evaluated);
  const auto apart = CopiedView(alone.parameters().gradients());
  EXPECT_GT(Norm(apart), 1e-3);
  EXPECT_LT(Distance(CopiedView(model.parameters().gradients()), apart), 1e-5 * Norm(apart));
  // Answers of other documents are another loss: the comparison would notice.
  packed.batch.starts = ends;
  EXPECT_GT(std::abs(model.Loss(context, packed.batch).sum - evaluated), 1e-3 * evaluated);
}

// Heads of whole texts give each document what they give it alone.
class LongformerTextHeads : public testing::TestWithParam<HeadKind> {};

TEST_P(LongformerTextHeads, GiveEachDocumentItsOwn) {
  const LongformerConfig config = ConfigFor(GetParam());
  Packed packed(config, Globals::kFirst);
  const auto texts = static_cast<idx_t>(kDocuments.size());
  std::vector<std::int32_t> labels;
  for (idx_t d = 0; d < texts; ++d) {
    labels.push_back(d + 1 == texts ? kIgnoreLabel
                                    : static_cast<std::int32_t>(d % config.label_count()));
  }
  if (GetParam() == HeadKind::kChoice) labels.assign(labels.size(), 0);  // a choice by itself
  packed.batch.labels = labels;
  Context context(2);
  Longformer model(config), alone(config);
  for (Longformer* m : {&model, &alone}) {
    m->Initialise(5);
    Perturb(*m, 6, 0.1f);
    m->parameters().AllocateGradients();
  }
  const idx_t channels = config.hidden_size;
  Tensor hidden({kRows * kTokens, channels}), pooled({texts, channels});
  model.Encode(context, packed.batch, hidden.view<2>());
  const Tensor logits = model.Logits(context, packed.batch, hidden.view<2>());
  ASSERT_EQ(logits.shape()[0], texts);
  const idx_t each = logits.size() / texts;
  if (config.has_pooler()) {
    model.Pool(context, packed.batch, hidden.view<2>(), pooled.view<2>());
  }
  const LongformerStep step{{}, 0.01f, {}};
  const HeadLoss together = model.LossAndGradients(context, packed.batch, step);
  double sum = 0.0;
  idx_t counted = 0;
  ForEachDocument(kDocuments, [&](idx_t d, idx_t begin, idx_t length) {
    BatchView batch = packed.Alone(begin, length);
    const auto at = static_cast<std::size_t>(d);
    batch.labels = std::span<const std::int32_t>(labels).subspan(at, 1);
    Tensor own({length, channels}), vector({1, channels});
    alone.Encode(context, batch, own.view<2>());
    const HeadLoss one = alone.LossAndGradients(context, batch, step);
    sum += one.sum;
    counted += one.counted;
    if (d + 1 == texts) return;  // padding
    const Tensor expected = alone.Logits(context, batch, own.view<2>());
    for (idx_t i = 0; i < each; ++i) {
      EXPECT_NEAR(logits.data<float>()[d * each + i], expected.data<float>()[i], 1e-5) << d;
    }
    if (!config.has_pooler()) return;
    alone.Pool(context, batch, own.view<2>(), vector.view<2>());
    for (idx_t c = 0; c < channels; ++c) {
      EXPECT_NEAR(pooled.view<2>()(d, c), vector.view<2>()(0, c), 1e-5) << d;
    }
  });
  EXPECT_EQ(together.counted, counted);
  EXPECT_NEAR(together.sum, sum, 1e-5 * sum);
  const auto apart = CopiedView(alone.parameters().gradients());
  // A choice by itself has no loss.
  EXPECT_EQ(Norm(apart) > 1e-3, GetParam() == HeadKind::kSequence);
  EXPECT_LE(Distance(CopiedView(model.parameters().gradients()), apart), 1e-5 * Norm(apart));
}

INSTANTIATE_TEST_SUITE_P(Heads, LongformerTextHeads,
                         testing::Values(HeadKind::kSequence, HeadKind::kChoice),
                         [](const auto& head) {
                           return head.param == HeadKind::kSequence ? "sequence" : "choice";
                         });

// Documents whose global rows take different forms stand in one batch, and each is what it is alone
// up to the rounding of dense products, which choose by the number of rows.
TEST(LongformerDocumentsCompany, MixesBothForms) {
  const LongformerConfig config = ConfigFor(HeadKind::kNone);
  const Packed packed(config, Globals::kMany);
  Context context(2);
  Longformer model(config);
  model.Initialise(5);
  Perturb(model, 6, 0.1f);
  const LongformerTexts texts(config, packed.batch, false);
  EXPECT_GT(texts.projected_rows, 0);
  EXPECT_LT(texts.projected_rows, texts.globals());
  Tensor hidden({kRows * kTokens, config.hidden_size});
  model.Encode(context, packed.batch, hidden.view<2>());
  ForEachDocument(kDocuments, [&](idx_t d, idx_t begin, idx_t length) {
    if (d + 1 == static_cast<idx_t>(kDocuments.size())) return;  // padding
    BatchView alone = packed.Alone(begin, length);
    const std::vector<idx_t> whole = {length};
    alone.documents = whole;
    Tensor own({length, config.hidden_size});
    model.Encode(context, alone, own.view<2>());
    const auto apart = Numbers(own.view<2>());
    EXPECT_LT(Distance(Numbers(hidden.view<2>().Rows(begin, length)), apart), 1e-5 * Norm(apart));
  });
}

}  // namespace
}  // namespace longspan
