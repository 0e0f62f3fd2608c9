// Documents side by side in rows: the value and the gradient of the documents run apart.
#include "model/documents.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/arena.h"
#include "base/errors.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer_test.h"
#include "model/step_memory.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Throws;

struct Kind {
  const char* name;
  AttentionChoice attention;
  bool axial, causal;
};

ReformerConfig ConfigFor(const Kind& kind) {
  ReformerConfig c = SmallConfig();
  c.layers = {LayerKind::kLocal, LayerKind::kLsh, LayerKind::kLocal};
  c.lsh_chunk = 8;
  c.num_hashes = 2;
  c.num_buckets = {4};
  c.attention = kind.attention;
  c.axial = kind.axial;
  c.is_decoder = kind.causal;
  if (!kind.causal) c.local_after = c.lsh_after = 1;
  return c;
}

struct Outcome {
  double loss = 0.0;
  idx_t counted = 0;
  std::vector<float> gradients;
  double norm = 0.0;
};

Outcome Finish(Reformer& model, double loss, idx_t counted) {
  Outcome o{loss, counted, Copied(model.parameters().gradients()), 0.0};
  for (const float g : o.gradients) o.norm += static_cast<double>(g) * static_cast<double>(g);
  o.norm = std::sqrt(o.norm);
  return o;
}

double Distance(const Outcome& a, const Outcome& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.gradients.size(); ++i) {
    const double d = static_cast<double>(a.gradients[i]) - static_cast<double>(b.gradients[i]);
    sum += d * d;
  }
  return std::sqrt(sum);
}

class DocumentsTest : public testing::TestWithParam<Kind> {};

TEST_P(DocumentsTest, AreWhatTheyAreApart) {
  const ReformerConfig config = ConfigFor(GetParam());
  // Two rows of 80: documents below a chunk, of several, of one token, that end with the row.
  const std::vector<idx_t> documents = {5, 40, 1, 34, 64, 16};
  RandomBatch random(2, 80, config.vocab_size, 7);
  random.targets[4] = random.targets[44] = kIgnoreLabel;
  random.batch.labels = random.targets;
  random.batch.documents = documents;
  const StepDropout step{false, 99};  // the rotations' key; no dropout
  Context context(2);
  Reformer model(config);
  model.Initialise(5);
  model.parameters().AllocateGradients();
  const HeadLoss together = model.LossAndGradients(context, random.batch, 0.01f, step);
  const Outcome packed = Finish(model, together.sum, together.counted);

  Reformer alone(config);
  alone.Initialise(5);
  alone.parameters().AllocateGradients();
  double loss = 0.0, evaluated = 0.0;  // evaluation hashes with rotations of its own
  idx_t counted = 0;
  ForEachDocument(documents, [&](idx_t, idx_t begin, idx_t length) {
    const auto part = [&](const std::vector<std::int32_t>& all) {
      return std::span<const std::int32_t>(all).subspan(static_cast<std::size_t>(begin),
                                                        static_cast<std::size_t>(length));
    };
    const ReformerBatch document{1, length, part(random.ids), part(random.targets), {}};
    const HeadLoss one = alone.LossAndGradients(context, document, 0.01f, step);
    evaluated += alone.Loss(context, document).sum;
    loss += one.sum;
    counted += one.counted;
  });
  const Outcome apart = Finish(alone, loss, counted);
  EXPECT_EQ(packed.counted, 158);
  EXPECT_EQ(packed.counted, apart.counted);
  EXPECT_NEAR(packed.loss, apart.loss, 1e-5 * apart.loss);
  EXPECT_GT(apart.norm, 1e-3);
  EXPECT_LT(Distance(packed, apart), 1e-5 * apart.norm);
  EXPECT_NEAR(model.Loss(context, random.batch).sum, evaluated, 1e-5 * evaluated);

  // Without their borders they are something else: the comparison would notice.
  random.batch.documents = {};
  Reformer joined(config);
  joined.Initialise(5);
  joined.parameters().AllocateGradients();
  const double other = joined.LossAndGradients(context, random.batch, 0.01f, step).sum;
  EXPECT_GT(Distance(Finish(joined, other, 0), apart), 1e-3 * apart.norm);
}

TEST_P(DocumentsTest, GradientsAreSlopesWithDropout) {
  ReformerConfig config = ConfigFor(GetParam());
  // A step of the check would carry tokens into other buckets, where the loss jumps.
  if (config.attention == AttentionChoice::kConfigured) config.layers.assign(2, LayerKind::kLocal);
  config.hidden_dropout = 0.1;
  config.local_dropout = 0.1;
  RandomBatch random(1, 48, config.vocab_size, 8);
  const std::vector<idx_t> documents = {9, 30, 9};
  random.batch.documents = documents;
  SlopeCheck(config, {true, 17}, random.batch).ExpectAll();
}

// The same documents in two rows differ by their masks of attention weights alone.
TEST_P(DocumentsTest, RowsDrawMasksOfTheirOwn) {
  ReformerConfig config = ConfigFor(GetParam());
  config.hidden_dropout = 0.0;
  config.local_dropout = 0.5;
  config.lsh_dropout = 0.5;
  RandomBatch random(2, 16, config.vocab_size, 9);
  std::copy_n(random.ids.begin(), 16, random.ids.begin() + 16);
  const std::vector<idx_t> documents = {6, 10, 6, 10};
  random.batch.documents = documents;
  Context context(2);
  Reformer model(config);
  model.Initialise(5);
  model.parameters().AllocateGradients();
  const auto loss_of = [&](std::size_t row) {
    std::vector<std::int32_t> labels(32, kIgnoreLabel);
    std::copy_n(random.ids.begin(), 16, labels.begin() + static_cast<std::ptrdiff_t>(16 * row));
    random.batch.labels = labels;
    return model.LossAndGradients(context, random.batch, 0.01f, {true, 5}).sum;
  };
  const double first = loss_of(0);
  EXPECT_GT(std::abs(first - loss_of(1)), 1e-5 * first);  // more than rounding
  EXPECT_EQ(first, loss_of(0));
}

// What `--memory` and `plan` count for whole rows is enough for rows of documents.
TEST_P(DocumentsTest, NeedNoMoreMemoryThanWholeRows) {
  const ReformerConfig config = ConfigFor(GetParam());
  const std::vector<idx_t> documents = {5, 40, 1, 34, 64, 16};
  RandomBatch random(2, 80, config.vocab_size, 7);
  random.batch.documents = documents;
  const StepNeeds needs = RehearseStep(*MakeModelConfig(config), 2, 80, 2);
  Context context(2);
  Reformer model(config);
  model.Initialise(5);
  model.parameters().AllocateGradients();
  model.LossAndGradients(context, random.batch, 0.01f, {true, 3});
  EXPECT_LE(context.arena().most_capacity(), needs.memory.streams + needs.memory.scratch);
  EXPECT_LE(model.StateBytes(), needs.memory.buckets);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, DocumentsTest,
    testing::Values(Kind{"hashed", AttentionChoice::kConfigured, true, true},
                    Kind{"hashed_both_ways", AttentionChoice::kConfigured, false, false},
                    Kind{"full", AttentionChoice::kFull, true, true},
                    Kind{"full_both_ways", AttentionChoice::kFull, true, false},
                    Kind{"chunks", AttentionChoice::kLocal, false, true}),
    [](const auto& kind) { return std::string(kind.param.name); });

// Heads of texts, and answers, give each document what they give it as a row.
TEST(Documents, HaveTargetsOfTheirOwn) {
  const std::vector<idx_t> documents = {5, 12, 1, 14};
  const std::vector<std::int32_t> labels = {2, 0, kIgnoreLabel, 1}, starts = {1, 11, 0, 20},
                                  ends = {4, -1, 7, 2};
  for (const HeadKind head : {HeadKind::kSequence, HeadKind::kQuestion}) {
    SCOPED_TRACE(ReformerClass(head));
    const bool classes = head == HeadKind::kSequence;
    ReformerConfig config = ConfigFor({"chunks", AttentionChoice::kLocal, false, false});
    config.head = head;
    if (classes) config.labels = {"a", "b", "c"};
    RandomBatch random(2, 17, config.vocab_size, 7);
    const std::vector<idx_t> whole = {5, 12, 1, 14, 2};
    // The last document is padding, of which nothing is known.
    std::vector<std::int32_t> all_labels = labels, all_starts = starts, all_ends = ends;
    all_labels.push_back(kIgnoreLabel);
    all_starts.push_back(9);
    all_ends.push_back(9);
    random.batch.documents = whole;
    random.batch.labels = {};
    if (classes) random.batch.labels = all_labels;
    random.batch.starts = all_starts;
    random.batch.ends = all_ends;
    Context context(2);
    Reformer model(config), alone(config);
    for (Reformer* m : {&model, &alone}) {
      m->Initialise(5);
      m->parameters().AllocateGradients();
    }
    const HeadLoss together = model.LossAndGradients(context, random.batch, 0.01f, {false, 9});
    double loss = 0.0, evaluated = 0.0;
    ForEachDocument(documents, [&](idx_t d, idx_t begin, idx_t length) {
      const auto at = static_cast<std::size_t>(d);
      ReformerBatch one{
          1, length,
          std::span<const std::int32_t>(random.ids)
              .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(length))};
      if (classes) one.labels = std::span(labels).subspan(at, 1);
      one.starts = std::span(starts).subspan(at, 1);
      one.ends = std::span(ends).subspan(at, 1);
      loss += alone.LossAndGradients(context, one, 0.01f, {false, 9}).sum;
      evaluated += alone.Loss(context, one).sum;
    });
    const Outcome packed = Finish(model, together.sum, 0), apart = Finish(alone, loss, 0);
    EXPECT_NEAR(packed.loss, apart.loss, 1e-5 * apart.loss);
    EXPECT_NEAR(model.Loss(context, random.batch).sum, evaluated, 1e-5 * evaluated);
    EXPECT_GT(apart.norm, 1e-4);
    EXPECT_LT(Distance(packed, apart), 1e-5 * apart.norm);
    // Targets of other documents are another loss: the comparison would notice.
    std::swap(all_labels[0], all_labels[1]);
    std::swap(all_starts[0], all_starts[1]);
    EXPECT_GT(std::abs(model.Loss(context, random.batch).sum - evaluated), 1e-4 * evaluated);
    all_labels.pop_back();
    all_starts.pop_back();
    if (classes) random.batch.labels = all_labels;
    random.batch.starts = all_starts;
    EXPECT_TRUE(Throws([&] { model.Loss(context, random.batch); }, ErrorCode::kUsage, "need 5"));
  }
}

TEST(Documents, FillTheRows) {
  Context context(1);
  Reformer model(SmallConfig());
  model.Initialise(1);
  RandomBatch random(2, 16, 31, 9);
  const auto refused = [&](const std::vector<idx_t>& documents, std::string_view says) {
    random.batch.documents = documents;
    EXPECT_TRUE(Throws([&] { model.Loss(context, random.batch); }, ErrorCode::kUsage, says))
        << says;
  };
  refused({16, 17}, "a document of 17 tokens at token 16 of rows of 16");
  refused({10, 10, 12}, "a document of 10 tokens at token 10");
  refused({16, 0, 16}, "a document of 0 tokens");
  refused({16, 8}, "documents of 24 tokens together in 2 rows of 16");
  refused({16, 16, 4}, "a document of 4 tokens at token 32");
  const std::vector<std::uint8_t> mask(32, 1);
  random.batch.roles = KeyMask(mask.data(), {2, 16});
  refused({16, 16}, "exclude a mask");
}

}  // namespace
}  // namespace longspan
