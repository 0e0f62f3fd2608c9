// Tasks on a small random Reformer: what it says of a text is what it says of the text alone.

#include <gtest/gtest.h>

#include <algorithm>

#include "families/model_inside.h"
#include "families/reformer/family.h"
#include "families/reformer/reformer.h"
#include "tasks/embed.h"
#include "tasks/scores.h"
#include "tasks/tasks_test.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"

namespace longspan {
namespace {

using test::Throws;
using text::Overflow;

ReformerConfig SmallReformerConfig(HeadKind head) {
  ReformerConfig c;
  c.head = head;
  c.layers = {LayerKind::kLocal, LayerKind::kLsh};
  c.vocab_size = 60;
  c.hidden_size = 16;
  c.heads = 2;
  c.head_size = 8;
  c.feed_forward_size = 32;
  c.max_positions = 64;
  c.axial_shape = {8, 8};
  c.axial_dims = {4, 12};
  c.local_chunk = c.lsh_chunk = 8;
  c.num_hashes = 2;
  c.initializer_range = 0.3;
  if (head == HeadKind::kSequence) c.labels = {"calm", "storm", "fog"};
  return c;
}

TaskModel SmallReformer(HeadKind head, const TaskOptions& options = {}) {
  Reformer model(SmallReformerConfig(head));
  model.Initialise(7);
  return TaskModel(MakeModel(MakeTextModel(std::move(model)), MakeWords(WordFamily::kBert)),
                   options);
}

// Texts of like lengths, which share batches.
std::vector<TaskText> Texts() {
  std::vector<TaskText> texts;
  for (const idx_t length : {30, 31, 30, 29, 5, 31}) {
    texts.push_back({Text(length, static_cast<idx_t>(texts.size())), std::nullopt});
  }
  return texts;
}

TEST(ReformerTasks, ClassesDoNotDependOnTheOtherTexts) {
  Context context(2);
  TaskModel model = SmallReformer(HeadKind::kSequence);
  const auto texts = Texts();
  const auto together = Classify(context, model, model.Encode(texts, Overflow::kError));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto alone =
        Classify(context, model, model.Encode(std::span(texts).subspan(i, 1), Overflow::kError));
    double sum = 0.0;
    for (std::size_t label = 0; label < 3; ++label) {
      EXPECT_NEAR(together[i].scores[label], alone[0].scores[label], 1e-6);
      sum += alone[0].scores[label];
    }
    EXPECT_NEAR(sum, 1.0, 1e-9);
  }
  EXPECT_NE(together[0].scores, together[2].scores);
}

TEST(ReformerTasks, MasksAreFilledFromTheLogitsAtTheirPlace) {
  Context context(2);
  TaskModel model = SmallReformer(HeadKind::kMaskedLm);
  const std::vector<TaskText> texts = {{Text(9, 1) + " [MASK] " + Text(9, 2), std::nullopt},
                                       {"[MASK] w3", std::nullopt}};
  const TaskRows rows = model.Encode(texts, Overflow::kError);
  const auto filled = FillMasks(context, model, texts, rows, 60);
  for (std::size_t i = 0; i < 2; ++i) {
    const text::Encoding& row = rows.rows[i];
    const auto at = std::find(row.ids.begin(), row.ids.end(), 4) - row.ids.begin();
    Tensor logits;
    RunRows(context, model, {&row, 1},
            [&](const TaskBatch& batch) { logits = LogitsOf(context, model, batch); });
    ASSERT_EQ(logits.shape(), (std::vector<idx_t>{row.size(), 60}));
    const auto p = Softmax({logits.data<float>() + at * 60, 60});
    ASSERT_EQ(filled[i].masks.size(), 1u);
    ASSERT_EQ(filled[i].masks[0].guesses.size(), 60u);
    for (const MaskGuess& guess : filled[i].masks[0].guesses) {
      EXPECT_NEAR(guess.score, p[static_cast<std::size_t>(guess.id)], 1e-6);
    }
  }
}

TEST(ReformerTasks, AnswersLieInTheText) {
  Context context(2);
  TaskModel model = SmallReformer(HeadKind::kQuestion);
  const std::vector<TaskText> texts = {{"w1 w2", Text(20, 6)}, {"w4", Text(33, 7)}};
  const TaskRows rows = model.Encode(texts, Overflow::kError);
  const auto answers = FindAnswers(context, model, rows, {.most = 3, .longest = 4});
  for (std::size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(answers[i].size(), 3u);
    const auto alone =
        FindAnswers(context, model, model.Encode(std::span(texts).subspan(i, 1), Overflow::kError),
                    {.most = 3, .longest = 4})[0];
    for (std::size_t a = 0; a < 3; ++a) {
      EXPECT_NEAR(answers[i][a].score, alone[a].score, 1e-6);
      EXPECT_EQ(answers[i][a].chars.begin, alone[a].chars.begin);
      EXPECT_LE(answers[i][a].chars.end, static_cast<idx_t>(texts[i].pair->size()));
    }
  }
}

TEST(ReformerTasks, VectorsAreTwiceAsWideAsTheModel) {
  Context context(2);
  TaskModel model = SmallReformer(HeadKind::kNone, {.max_length = 20, .stride = 4});
  const auto texts = Texts();
  const Tensor vectors = EmbedRows(context, model, model.Encode(texts, Overflow::kWindow), {});
  EXPECT_EQ(vectors.shape(), (std::vector<idx_t>{6, 32}));
  const Tensor alone = EmbedRows(
      context, model, model.Encode(std::span(texts).subspan(3, 1), Overflow::kWindow), {});
  for (idx_t c = 0; c < 32; ++c) {
    EXPECT_NEAR(vectors.data<float>()[3 * 32 + c], alone.data<float>()[c], 1e-5);
  }
}

TEST(ReformerTasks, WhatItCannotIsNamed) {
  EXPECT_TRUE(Throws([] { SmallReformer(HeadKind::kSequence, {.global = GlobalRule::First(1)}); },
                     ErrorCode::kUsage, "no global tokens"));
  Reformer model(SmallReformerConfig(HeadKind::kSequence));
  ModelOptions half;
  half.compute = DType::kF16;
  EXPECT_TRUE(Throws([&] { MakeModel(MakeTextModel(std::move(model)), nullptr, half); },
                     ErrorCode::kUsage, "F32"));
  EXPECT_TRUE(Throws([] { SmallReformer(HeadKind::kSequence, {.max_length = 65}); },
                     ErrorCode::kUsage, "64"));
}

}  // namespace
}  // namespace longspan
