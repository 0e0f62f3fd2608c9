// Reformers learning from texts with a tokenizer: masked words, classes. Exact means, the same bits
// for any threads and interruption, predictions that do not depend on the batch.
#include <gtest/gtest.h>

#include "families/reformer/family.h"
#include "families/reformer/reformer_files.h"
#include "train/letter_training_test.h"

namespace longspan {
namespace {

using test::Throws;

ReformerConfig TinyReformer(HeadKind head = HeadKind::kMaskedLm) {
  ReformerConfig c;
  c.head = head;
  c.layers = {LayerKind::kLocal, LayerKind::kLsh};
  c.vocab_size = 16;
  c.hidden_size = 32;
  c.heads = 2;
  c.head_size = 16;
  c.feed_forward_size = 64;
  c.max_positions = 64;
  c.axial_shape = {8, 8};
  c.axial_dims = {8, 24};
  c.axial_norm_std = 0.1;
  c.local_chunk = c.lsh_chunk = 8;
  c.local_after = c.lsh_after = 1;
  c.num_hashes = 2;
  c.initializer_range = 0.1;
  return c;
}

class ReformerTraining : public LetterTraining {
 protected:
  // 23 tokens are no whole chunks.
  ReformerTraining()
      : LetterTraining({8, 3, 23, 4}, [](const std::filesystem::path& folder) {
          Reformer model(TinyReformer());
          model.Initialise(1);
          SaveReformer(model, folder);
        }) {}
};

const char* const kReformerKinds[] = {"mlm", "packed", "classes", "regression"};

TEST_F(ReformerTraining, SameBitsForAnyThreadsAndInterruptions) {
  for (const std::string kind : kReformerKinds) {
    Train(kind, Options(kind));
    Train(kind, Options(kind + "1"), 1);
    EXPECT_EQ(Weights(kind + "1"), Weights(kind)) << kind;
    TrainOptions o = Options(kind + "-stopped");
    EXPECT_TRUE(Train(kind, o, 2, 5).stopped);
    o.checkpoints.resume = true;
    Train(kind, o, 3);
    EXPECT_EQ(Weights(kind + "-stopped"), Weights(kind)) << kind;
  }
}

TEST_F(ReformerTraining, LearnsTheRule) {
  TrainOptions o = Options("rule");
  o.steps = 500;
  o.compute.dropout = 0.0;
  o.accumulate = 4;
  o.checkpoints.log_every = 50;
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  const TrainResult result = Train("mlm", o);
  EXPECT_GT(result.metrics[0].value, 0.8);  // accuracy; letters alone: 0.1
  o = Options("letters");
  o.model = d_.path() / "rule";
  o.steps = 200;
  o.compute.dropout = 0.0;
  o.checkpoints.log_every = 50;
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  std::vector<std::string> notes;
  const TrainResult letters = Train("classes", o, 2, 0, &notes);
  EXPECT_GT(letters.metrics[0].value, 0.9);  // on other texts; a third by chance
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_EQ(notes[0].rfind("new: classifier.dense.bias", 0), 0u) << notes[0];
  EXPECT_EQ(notes[1], "left out: lm_head.bias, lm_head.decoder.weight");
  // The folder is the classifier that was measured.
  const auto back = LoadTextModel(o.output, {});
  EXPECT_EQ(back->info().labels, (std::vector<std::string>{"has a", "has b", "neither"}));
  const ClassifyTarget target{back->info().labels, back->info().problem};
  Context context(1);
  const GlobalPolicy none = GlobalPolicy::Parse("none");
  const ClassifierEval eval = EvaluateRows(context, *back, target, none, Rows(Letters(2), target));
  EXPECT_EQ(eval.loss, letters.eval_loss);
}

// Documents side by side in a row behind TextModel: each as if it were a row of its own, and
// padding is one of them.
TEST_F(ReformerTraining, PackedRowsAreTheirDocumentsApart) {
  Reformer reformer(TinyReformer());
  reformer.Initialise(3);
  const auto model = MakeTextModel(std::move(reformer));
  const MaskedRows form(Words(), model->info(), 0.5);
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 60; ++i) ids.push_back(5 + i % 7);
  const std::vector<std::vector<PackedPieces::Piece>> pieces = {{{0, 20}, {20, 21}, {21, 33}},
                                                                {{33, 60}}};
  Batch rows;
  rows.Reset(2, 41, 0);
  rows.labels.assign(82, kIgnoreLabel);
  for (idx_t row = 0; row < 2; ++row) {
    form.PutPacked(row, ids, pieces[static_cast<std::size_t>(row)], 9, &rows);
  }
  EXPECT_EQ(rows.documents, (std::vector<idx_t>{22, 3, 14, 2, 29, 12}));
  Context context(2);
  Tensor hidden({82, model->info().width});
  model->Encode(context, rows.view(), hidden.view<2>());
  const HeadLoss together = model->Loss(context, rows.view());
  HeadLoss apart;
  idx_t begin = 0;
  for (const idx_t length : rows.documents) {
    const auto at = static_cast<std::size_t>(begin), count = static_cast<std::size_t>(length);
    if (rows.roles[at] != kHiddenToken) {
      Batch one;
      one.Reset(1, length, 0);
      one.SetRow(0, std::span(rows.ids).subspan(at, count));
      one.labels.assign(rows.labels.begin() + begin, rows.labels.begin() + begin + length);
      Tensor own({length, model->info().width});
      model->Encode(context, one.view(), own.view<2>());
      for (idx_t t = 0; t < length; ++t) {
        for (idx_t c = 0; c < model->info().width; ++c) {
          ASSERT_NEAR(hidden.view<2>()(begin + t, c), own.view<2>()(t, c), 1e-5)
              << begin << " " << t;
        }
      }
      const HeadLoss loss = model->Loss(context, one.view());
      apart.sum += loss.sum;
      apart.counted += loss.counted;
    }
    begin += length;
  }
  EXPECT_EQ(together.counted, apart.counted);
  EXPECT_NEAR(together.sum, apart.sum, 1e-5 * apart.sum);
  rows.roles[3] = kHiddenToken;
  EXPECT_TRUE(Throws([&] { model->Loss(context, rows.view()); }, ErrorCode::kUsage,
                     "1 of the 22 tokens of the document at token 0 of row 0 are hidden"));
}

TEST_F(ReformerTraining, PredictionsDoNotDependOnTheBatch) {
  ReformerConfig config = TinyReformer(HeadKind::kSequence);
  config.labels = {"has a", "has b", "neither"};
  Reformer reformer(config);
  reformer.Initialise(3);
  const auto model = MakeTextModel(std::move(reformer));
  ExpectPredictionsApart(*model, {config.labels, ProblemType::kSingleLabel},
                         GlobalPolicy::Parse("none"));
}

TEST_F(ReformerTraining, WhatItCannotIsNamed) {
  MaskedLmOptions task;
  task.global = GlobalRule::Parse("first:1");
  TrainOptions o = Options("run");
  const TextModelInfo info = InfoOf(TinyReformer());
  Context context(1);
  EXPECT_TRUE(Throws([&] { MaskedLmTask run(context, o, task, Words(), info); }, ErrorCode::kUsage,
                     "no global tokens"));
  task.global = GlobalRule::Parse("auto");
  o.compute.recompute = true;
  MaskedLmTask again(context, o, task, Words(), info);
  EXPECT_TRUE(Throws([&] { RunTraining(context, o, again, {}); }, ErrorCode::kUsage, "reversible"));
  TrainOptions half = Options("half");
  half.compute.dtype = DType::kF16;
  MaskedLmTask bf16(context, half, {}, Words(), info);
  EXPECT_TRUE(Throws([&] { RunTraining(context, half, bf16, {}); }, ErrorCode::kUsage, "F32"));
}

}  // namespace
}  // namespace longspan
