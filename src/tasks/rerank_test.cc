// Relevance of texts to queries on a small random Longformer, against its own logits.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/errors.h"
#include "families/longformer/family.h"
#include "families/longformer/longformer.h"
#include "families/model_inside.h"
#include "tasks/cross_encoder_folder.h"
#include "tasks/task_model.h"
#include "tasks/tasks_test.h"
#include "tests/support/files.h"

namespace longspan {
namespace {

using test::PutFile;
using test::Throws;

TaskModel PairModel(std::vector<std::string> labels, HeadKind head = HeadKind::kSequence) {
  LongformerConfig config;
  config.head = head;
  config.attention_window = {8, 8};
  config.vocab_size = 60;
  config.hidden_size = 16;
  config.heads = 2;
  config.feed_forward_size = 32;
  config.max_positions = 64;
  config.token_types = 1;
  config.labels = std::move(labels);
  Longformer model(config);
  model.Initialise(7);
  const View<float, 1> values = model.parameters().Write().values();
  for (idx_t i = 0; i < values.size(); ++i) values.data[i] *= 8.0f;
  return TaskModel(MakeModel(MakeTextModel(std::move(model)), MakeWords(WordFamily::kRoberta)));
}

TEST(Rerank, ScoresAreTheSigmoidOfTheBestWindowsLogit) {
  const Reranker reranker(PairModel({"LABEL_0"}));
  EXPECT_EQ(reranker.activation(), "Sigmoid");
  EXPECT_EQ(reranker.prompt(), "");
  const std::vector<std::string> texts = {Text(12, 1), Text(150, 2), Text(5, 3), ""};
  std::vector<TaskText> pairs;
  for (const std::string& text : texts) pairs.push_back(reranker.Prepare("w1 w2", text));
  Context one(1), three(3);
  const TaskRows rows = reranker.model().Encode(one, pairs);
  ASSERT_GT(rows.of(1).size(), 2u);
  const auto scores = reranker.Score(one, rows);
  ASSERT_EQ(scores.size(), 4u);
  for (idx_t text = 0; text < 4; ++text) {
    double best = -1e9;
    std::size_t window = 0;
    for (std::size_t w = 0; w < rows.of(text).size(); ++w) {
      RunRows(one, reranker.model(), rows.of(text).subspan(w, 1), [&](const TaskBatch& batch) {
        const double logit = LogitsOf(one, reranker.model(), batch).data<float>()[0];
        if (logit > best) window = w;
        best = std::max(best, logit);
      });
    }
    const RankedText& got = scores[static_cast<std::size_t>(text)];
    EXPECT_EQ(got.text, text);
    EXPECT_NEAR(got.logit, best, 1e-5);
    EXPECT_NEAR(got.score, 1.0 / (1.0 + std::exp(-best)), 1e-6);
    if (text != 1) continue;
    // The window's place in the text, by hand: its first and last characters.
    const text::Encoding& row = rows.of(text)[window];
    idx_t begin = 1 << 20, end = 0;
    for (std::size_t t = 0; t < row.ids.size(); ++t) {
      if (row.sequence[t] != 1) continue;
      begin = std::min(begin, row.chars[t].begin);
      end = std::max(end, row.chars[t].end);
    }
    EXPECT_EQ(got.chars.begin, begin);
    EXPECT_EQ(got.chars.end, end);
  }
  const auto again = reranker.Score(three, rows);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(again[i].logit, scores[i].logit);
  // In order, and no more than are wanted.
  const auto ranked = reranker.Rank(one, "w1 w2", texts, 3);
  ASSERT_EQ(ranked.size(), 3u);
  for (std::size_t i = 1; i < 3; ++i) EXPECT_GE(ranked[i - 1].score, ranked[i].score);
  EXPECT_THROW(reranker.Rank(one, "w1", texts, 0), Error);
}

TEST(Rerank, EqualScoresKeepTheLogitsOrderAndThenTheTexts) {
  std::vector<RankedText> ranked = {
      {0, 1.0, 40.0, {}}, {1, 0.5, 0.0, {}}, {2, 1.0, 50.0, {}}, {3, 1.0, 40.0, {}}};
  KeepBest(ranked, 3);
  ASSERT_EQ(ranked.size(), 3u);
  EXPECT_EQ(ranked[0].text, 2);
  EXPECT_EQ(ranked[1].text, 0);
  EXPECT_EQ(ranked[2].text, 3);
  const double nan = std::nan("");
  ranked = {{0, nan, nan, {}}, {1, 0.5, 0.0, {}}, {2, nan, nan, {}}, {3, 0.6, 0.1, {}}};
  KeepBest(ranked, 4);
  EXPECT_EQ(ranked[0].text, 3);
  EXPECT_EQ(ranked[1].text, 1);
  EXPECT_EQ(ranked[2].text, 0);
}

TEST(Rerank, OtherModelsAreRefused) {
  EXPECT_TRUE(Throws(
      [] {
        Reranker(PairModel({"a", "b"}));
      },
      ErrorCode::kFormat, "with 2 labels scores no pairs; reranking needs a sequence classifier"));
  EXPECT_TRUE(Throws([] { Reranker(PairModel({"a"}, HeadKind::kToken)); }, ErrorCode::kFormat,
                     "LongformerForTokenClassification with 1 labels"));
}

class CrossEncoderFolders : public ::testing::Test {
 protected:
  std::string ActivationName() { return std::string(Read().activation->name); }
  CrossEncoderFolder Read() { return ReadCrossEncoderFolder(dir_.path()); }
  bool Refuses(const char* what) {
    return Throws([&] { Read(); }, ErrorCode::kFormat, what);
  }
  test::TempDir dir_;
};

TEST_F(CrossEncoderFolders, NameTheActivationInThreePlaces) {
  EXPECT_EQ(ActivationName(), "Sigmoid");
  PutFile(dir_ / "config.json",
          R"({"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"})");
  EXPECT_EQ(ActivationName(), "Identity");
  PutFile(dir_ / "config.json",
          R"({"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity",
              "sentence_transformers":{"activation_fn":"torch.nn.modules.activation.Tanh"}})");
  EXPECT_EQ(ActivationName(), "Tanh");
  PutFile(dir_ / "config_sentence_transformers.json",
          R"({"activation_fn":"torch.nn.modules.activation.Sigmoid"})");
  EXPECT_EQ(ActivationName(), "Sigmoid");
  PutFile(dir_ / "config_sentence_transformers.json", R"({"activation_fn":"mine.Sigmoid"})");
  EXPECT_TRUE(Refuses("activation_fn 'mine.Sigmoid' is unknown"));
  PutFile(dir_ / "config_sentence_transformers.json", R"({"activation_fn":7})");
  EXPECT_TRUE(Refuses("activation_fn"));
}

TEST_F(CrossEncoderFolders, HaveOneTransformerAndMayHaveAPrompt) {
  PutFile(dir_ / "config_sentence_transformers.json",
          R"({"prompts":{"query":"find: "},"default_prompt_name":"query"})");
  const std::string transformer =
      R"({"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.Transformer"})";
  PutFile(dir_ / "modules.json", "[" + transformer + "]");
  PutFile(dir_ / "sentence_bert_config.json",
          R"({"transformer_task":"sequence-classification","module_output_name":"scores",
              "max_seq_length":64,"do_lower_case":true,
              "modality_config":{"text":{"method":"forward","method_output_name":"logits"}}})");
  const CrossEncoderFolder folder = Read();
  EXPECT_EQ(folder.prompt, "find: ");
  EXPECT_EQ(folder.transformer.max_tokens, idx_t{64});
  EXPECT_TRUE(folder.transformer.lower_case);
  PutFile(dir_ / "sentence_bert_config.json", R"({"transformer_task":"text-generation"})");
  EXPECT_TRUE(Refuses("transformer_task"));
  PutFile(dir_ / "sentence_bert_config.json", "{}");
  PutFile(
      dir_ / "modules.json",
      "[" + transformer + R"(,{"path":"1_Dense","type":"sentence_transformers.models.Dense"}])");
  EXPECT_TRUE(Refuses("has 2 modules"));
  // A model of vectors is an encoder that scores may be learned with.
  PutFile(
      dir_ / "modules.json",
      "[" + transformer + R"(,{"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
              {"path":"2_Normalize","type":"sentence_transformers.models.Normalize"}])");
  EXPECT_EQ(Read().prompt, "");
  EXPECT_EQ(ActivationName(), "Sigmoid");
  PutFile(dir_ / "modules.json", R"([{"path":"1","type":"x.LogitScore"}])");
  EXPECT_TRUE(Refuses("module 'x.LogitScore' is not known"));
}

}  // namespace
}  // namespace longspan
