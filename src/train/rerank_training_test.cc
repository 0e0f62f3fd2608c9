// A classifier with one label learns how relevant texts are: data of both forms, whole queries held
// out, folders that open as rerankers.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "families/families.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer_files.h"
#include "longspan/evaluate.h"
#include "longspan/tasks.h"
#include "tests/support/files.h"
#include "train/rerank_task.h"
#include "train/training_test.h"

namespace longspan {
namespace {

using test::GetFile;
using test::PutFile;
using test::TempDir;
using test::Throws;

class RerankTraining : public testing::Test {
 protected:
  RerankTraining() {
    SaveLetterLongformer(LetterLongformer(20), d_ / "start");
    // A text is relevant if it has an s; the query says nothing about that.
    std::string lists, table;
    for (int i = 0; i < 12; ++i) {
      const std::string query = std::string(1, static_cast<char>('a' + i)) + " b";
      const std::string good = "c s d", bad = "c t d", worse = "e f";
      lists +=
          nlohmann::json{{"query", query}, {"positive", good}, {"negatives", {bad, worse}}}.dump() +
          "\n";
      table += query + "," + good + ",1\n" + query + "," + bad + ",0\n" + query + "," + worse +
               ",0.25\n";
    }
    PutFile(d_ / "lists.jsonl", lists);
    PutFile(d_ / "table.csv", "query,text,label\n" + table);
  }

  TrainOptions Options(const std::string& data, const std::string& run) const {
    TrainOptions o = FineTuneOptions();
    o.model = d_ / "start";
    o.data.train = {d_ / data};
    o.data.eval = d_ / data;
    o.output = d_ / run;
    o.steps = 6;
    o.batch = 4;
    o.accumulate = 2;
    o.optimizer.learning_rate = 5e-3;
    o.checkpoints.log_every = 1;
    o.checkpoints.eval_every = o.checkpoints.save_every = 3;
    return o;
  }
  static TrainResult Train(const TrainOptions& o, int threads = 2, idx_t stop_after = 0) {
    Context context(threads);
    RerankTrainingOptions task;
    task.epochs = 0.0;
    idx_t step = 0;
    TrainHooks hooks;
    hooks.on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStep) step = event.step;
    };
    hooks.should_stop = [&] { return stop_after > 0 && step >= stop_after; };
    return TrainReranker(context, o, task, hooks);
  }

  TempDir d_;
};

TEST_F(RerankTraining, LearnsWhatIsRelevant) {
  TrainOptions o = Options("lists.jsonl", "run");
  o.steps = 40;
  o.tokens = 16;
  o.compute.dropout = 0.0;
  o.checkpoints.eval_every = o.checkpoints.save_every = 0;
  const TrainResult result = Train(o);
  ASSERT_EQ(result.metrics.size(), 4u);
  EXPECT_EQ(result.metrics[0].name, "accuracy");
  EXPECT_GT(result.metrics[0].value, 0.95);
  EXPECT_EQ(result.metrics[2].name, "mrr");
  EXPECT_EQ(result.metrics[2].value, 1.0);
  RerankerEvalOptions eval;
  eval.model = o.output;
  eval.file = d_ / "lists.jsonl";
  Context context(1);
  const RerankerEval measured = EvaluateReranker(context, eval);
  EXPECT_EQ(measured.loss, result.eval_loss);
  EXPECT_EQ(measured.tokens, 16);
  EXPECT_EQ(measured.pairs, 36);
  EXPECT_EQ(measured.queries, 12);
  EXPECT_EQ(measured.average_precision, 1.0);
  // The folder is a reranker, and goes on learning with the head that it has.
  const Reranker reranker = Reranker::Load(o.output);
  EXPECT_EQ(reranker.model().longest(), 16);
  const std::vector<std::string> texts = {"e f", "c t d", "c s d"};
  EXPECT_EQ(reranker.Rank(context, "a b", texts, 1)[0].text, 2);
  o.model = o.output;
  o.output = d_ / "again";
  o.steps = 1;
  o.optimizer.learning_rate = 0.0;
  EXPECT_EQ(Train(o).eval_loss, result.eval_loss);
  eval.model = d_ / "start";
  EXPECT_TRUE(
      Throws([&] { EvaluateReranker(context, eval); }, ErrorCode::kFormat, "not for classify"));
}

TEST_F(RerankTraining, SameBitsForAnyThreadsAndInterruptions) {
  TrainOptions o = Options("table.csv", "whole");
  o.data.eval.clear();
  o.data.held_out = 0.25;
  const TrainResult whole = Train(o);
  const std::string weights = GetFile(o.output / "model.safetensors");
  o.output = d_ / "stopped";
  EXPECT_TRUE(Train(o, 1, 4).stopped);
  o.checkpoints.resume = true;
  EXPECT_EQ(Train(o, 3).eval_loss, whole.eval_loss);
  EXPECT_EQ(GetFile(o.output / "model.safetensors"), weights);
}

TEST_F(RerankTraining, ReadsBothFormsAndSaysWhatItCannotUse) {
  const JudgedTexts lists = ReadJudgedTexts({d_ / "lists.jsonl"}, {}, {});
  const JudgedTexts table = ReadJudgedTexts({d_ / "table.csv"}, {}, {});
  ASSERT_EQ(lists.queries, table.queries);
  EXPECT_EQ(lists.pairs.rows[2].pair, table.pairs.rows[2].pair);
  EXPECT_EQ(lists.pairs.rows[2].value, 0.0);
  EXPECT_EQ(table.pairs.rows[2].value, 0.25);
  const auto fails = [&](const std::string& text, const std::string& message) {
    return Throws([&] { ReadJudgedTexts({PutFile(d_ / "x.csv", text)}, {}, {}); },
                  ErrorCode::kFormat, message);
  };
  EXPECT_TRUE(fails("query,text,label\na,b,3\n", "label 3 is not from 0 to 1"));
  EXPECT_TRUE(fails("query,text\na,b\n", "--list-columns"));
  PutFile(d_ / "y.jsonl", "{\"query\": \"a\", \"positive\": []}\n");
  EXPECT_TRUE(Throws([&] { ReadJudgedTexts({d_ / "y.jsonl"}, {}, {}); }, ErrorCode::kFormat,
                     "\"positive\" has no text"));
}

}  // namespace
}  // namespace longspan
