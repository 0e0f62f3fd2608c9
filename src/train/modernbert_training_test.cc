// ModernBERTs learning on a small scale: packed documents and labelled texts stand side by side,
// with the gradient of the texts apart, and the same bits whatever interrupts or divides the work.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "families/families.h"
#include "families/modernbert/family.h"
#include "families/modernbert/modernbert_files.h"
#include "tests/support/files.h"
#include "train/classify_task.h"
#include "train/mlm_task.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include "train/training_test.h"

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

class ModernBertTraining : public testing::Test {
 protected:
  ModernBertTraining() {
    ModernBert model(TinyModernBert());
    model.Initialise(1);
    SaveModernBert(model, d_.path() / "start");
    WriteLetters(d_.path() / "text");
  }

  TrainOptions Options(const std::string& run) const {
    TrainOptions o = FineTuneOptions();
    o.model = d_.path() / "start";
    o.data.train = {d_.path() / "text"};
    o.output = d_.path() / run;
    o.steps = 5;
    o.batch = 2;
    o.accumulate = 2;
    o.tokens = 110;  // two documents, with padding behind them
    o.optimizer.learning_rate = 3e-3;
    o.checkpoints.eval_every = o.checkpoints.save_every = 3;
    ResolveWarmup(&o);
    return o;
  }

  static MaskedLmOptions Packed() {
    MaskedLmOptions task;
    task.documents = Documents::kBlankLine;
    task.packed = true;
    return task;
  }

  std::unique_ptr<TrainTask> Make(const std::string& kind, const TrainOptions& o) const {
    Context context(2);
    const TextModelInfo info = InfoOf(TinyModernBert());
    if (kind == "packed") {
      return std::make_unique<MaskedLmTask>(context, o, Packed(), Words(), info);
    }
    const LabelledTexts train = Letters(1), held = Letters(2);
    const ClassifyTarget target = ChooseTarget(train, ProblemType::kInferred, info);
    const auto rows = [&](const LabelledTexts& texts) {
      return TokenizeRows(context, Words(), texts, target, info, {24, false, false});
    };
    return std::make_unique<ClassifyTask>(o, ClassifyOptions{}, Words(), info, target, rows(train),
                                          rows(held));
  }

  TrainResult Train(const std::string& kind, const TrainOptions& o, int threads,
                    idx_t stop_after = 0) const {
    Context context(threads);
    idx_t step = 0;
    TrainHooks hooks;
    hooks.on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) step = event.step;
    };
    hooks.should_stop = [&] { return stop_after > 0 && step >= stop_after; };
    const auto task = Make(kind, o);
    return RunTraining(context, o, *task, hooks);
  }

  std::string Weights(const std::string& run) const {
    return test::GetFile(d_.path() / run / "model.safetensors");
  }

  test::TempDir d_;
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
      ReadMaskedText(context, Words(), o.data.train, {}, Packed(), form, {}, &notes);
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
  std::vector<std::vector<float>> gradients;
  std::vector<double> losses;
  for (const idx_t batch : {12, 1}) {
    TrainOptions o = Options("none");
    o.batch = batch;
    o.accumulate = 60 / batch;  // all texts
    o.compute.dropout = 0.0;
    const auto task = Make("classes", o);
    std::vector<std::string> notes;
    task->Load(o.model, TrainTask::Origin::kStart, &notes);
    task->parameters().AllocateGradients();
    Context context(2);
    const StepSize size = task->Draw(1);
    double sum = 0.0;
    for (idx_t m = 0; m < o.accumulate; ++m) {
      sum += task->Accumulate(context, m, 1.0f / static_cast<float>(size.counted), {}).sum;
    }
    losses.push_back(sum);
    const View<float, 1> flat = task->parameters().gradients();
    gradients.emplace_back(flat.data, flat.data + flat.size());
  }
  EXPECT_NEAR(losses[1], losses[0], 1e-5 * losses[0]);
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < gradients[0].size(); ++i) {
    const auto a = static_cast<double>(gradients[0][i]), b = static_cast<double>(gradients[1][i]);
    difference += (a - b) * (a - b);
    norm += a * a;
  }
  EXPECT_LT(std::sqrt(difference / norm), 1e-5);
}

}  // namespace
}  // namespace longspan
