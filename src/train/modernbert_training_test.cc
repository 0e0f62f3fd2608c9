// ModernBERTs learning on a small scale: packed documents and labelled texts stand side by side,
// with the gradient of the texts apart, and the same bits whatever interrupts or divides the work.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "families/modernbert/family.h"
#include "families/modernbert/modernbert_files.h"
#include "train/letter_training_test.h"

namespace longspan {
namespace {

ModernBertConfig TinyModernBert() {
  ModernBertConfig c;
  c.head = HeadKind::kMaskedLm;
  c.full = {true, false};
  c.vocab_size = 16;
  c.hidden_size = 32;
  c.heads = 2;
  c.feed_forward_size = 48;
  c.max_positions = 128;
  c.local_attention = 8;
  c.initializer_range = 0.1;
  c.mean_pooling = true;
  c.pad_token = 0;
  c.bos_token = c.cls_token = 2;
  c.eos_token = c.sep_token = 3;
  return c;
}

class ModernBertTraining : public LetterTraining {
 protected:
  // 110 tokens are two documents, with padding behind them.
  ModernBertTraining()
      : LetterTraining({5, 2, 110, 3}, [](const std::filesystem::path& folder) {
          ModernBert model(TinyModernBert());
          model.Initialise(1);
          SaveModernBert(model, folder);
        }) {}
};

TEST_F(ModernBertTraining, SameBitsForAnyThreadsAndInterruptions) {
  for (const std::string kind : {"packed", "classes"}) {
    Train(kind, Options(kind), 2);
    Train(kind, Options(kind + "-alone"), 1);
    EXPECT_EQ(Weights(kind + "-alone"), Weights(kind));
    TrainOptions o = Options(kind + "-stopped");
    EXPECT_TRUE(Train(kind, o, 2, 2).stopped);
    o.checkpoints.resume = true;
    EXPECT_EQ(Train(kind, o, 3).step, 5);
    EXPECT_EQ(Weights(kind + "-stopped"), Weights(kind));
    EXPECT_NE(Weights(kind), Weights("start"));
  }
}

// Loss and gradient of packed rows are those of their documents run one by one.
TEST_F(ModernBertTraining, PackedRowsAreTheirDocumentsApart) {
  Context context(2);
  const TrainOptions o = Options("apart");
  const MaskedRows form(Words(), InfoOf(TinyModernBert()), 0.3);
  std::vector<std::string> notes;
  const TokenStream stream =
      ReadMaskedText(context, Words(), o.data.train, {}, MaskOptions(true), form, {}, &notes);
  // Four documents, two of them cut, in two rows.
  const MaskedText text = MaskedText::Of(stream, 10, 180, true, form, o.tokens);
  Batch rows;
  rows.Reset(text.packed->rows(), o.tokens, 0);
  rows.labels.assign(rows.ids.size(), kIgnoreLabel);
  idx_t masked = 0;
  for (idx_t r = 0; r < rows.rows; ++r) {
    masked += form.PutPacked(r, text.ids, text.packed->Pieces(r), 7, &rows);
  }
  ASSERT_GE(rows.documents.size(), 6u);
  const auto together = LoadTextModel(o.model, {}), alone = LoadTextModel(o.model, {});
  together->parameters().AllocateGradients();
  alone->parameters().AllocateGradients();
  const HeadLoss packed = together->LossAndGradients(context, rows.view(), 0.01f, {});
  HeadLoss apart;
  ForEachDocument(rows.documents, [&](idx_t, idx_t begin, idx_t length) {
    const auto at = static_cast<std::size_t>(begin), count = static_cast<std::size_t>(length);
    if (rows.roles[at] == kHiddenToken) return;
    Batch one;
    one.Reset(1, length, 0);
    one.SetRow(0, std::span(rows.ids).subspan(at, count));
    one.labels.assign(rows.labels.begin() + begin, rows.labels.begin() + begin + length);
    apart.Add(alone->LossAndGradients(context, one.view(), 0.01f, {}));
  });
  EXPECT_EQ(packed.counted, masked);
  EXPECT_EQ(packed.counted, apart.counted);
  EXPECT_NEAR(packed.sum, apart.sum, 1e-5 * apart.sum);
  const View<const float, 1> a = together->parameters().gradients();
  const View<const float, 1> b = alone->parameters().gradients();
  double difference = 0.0, norm = 0.0;
  for (idx_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a(i)), y = static_cast<double>(b(i));
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  EXPECT_GT(norm, 1e-6);
  EXPECT_LT(std::sqrt(difference / norm), 1e-5);
  // Padding is not computed.
  Batch full = rows;
  std::fill(full.roles.begin(), full.roles.end(), kLocalToken);
  EXPECT_LT(together->ForwardGflop(rows.view()), 0.95 * together->ForwardGflop(full.view()));
}

// A classifier's update is that of its texts one by one, whatever their lengths.
TEST_F(ModernBertTraining, ADividedBatchHasTheGradientOfTheWhole) {
  const auto sums = [&](idx_t batch) {
    TrainOptions o = Options("none");
    o.batch = batch;
    o.accumulate = 60 / batch;  // all texts
    return SumsOf("classes", o, 1, 1);
  };
  ExpectNear(sums(1), sums(12));
}

}  // namespace
}  // namespace longspan
