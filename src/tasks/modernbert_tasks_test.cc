// Tasks on a small random ModernBERT: texts of any lengths run side by side in one row, and each
// has the answer that it has alone.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "families/model_inside.h"
#include "families/modernbert/family.h"
#include "families/modernbert/modernbert.h"
#include "tasks/embed.h"
#include "tasks/task_model.h"
#include "tasks/tasks_test.h"

namespace longspan {
namespace {

TaskModel SmallModernTasks(HeadKind head, bool mean, idx_t batch_tokens) {
  ModernBertConfig c;
  c.head = head;
  c.full = {true, false, false};
  c.vocab_size = 60;
  c.hidden_size = 16;
  c.heads = 2;
  c.feed_forward_size = 24;
  c.max_positions = 64;
  c.local_attention = 8;
  c.initializer_range = 0.2;
  c.mean_pooling = mean;
  c.pad_token = 0;
  c.bos_token = c.cls_token = 2;
  c.eos_token = c.sep_token = 3;
  if (head == HeadKind::kSequence || head == HeadKind::kToken) c.labels = {"O", "B-PER", "I-PER"};
  if (head == HeadKind::kSequence && mean) c.labels = {"score"};
  ModernBert model(c);
  model.Initialise(7);
  TaskOptions options;
  options.batch_tokens = batch_tokens;
  return TaskModel(MakeModel(MakeTextModel(std::move(model)), MakeWords(WordFamily::kBert)),
                   options);
}

const std::vector<std::string> kTexts = {Text(30, 1), Text(3, 2), "",
                                         Text(29, 3), "w3",       Text(11, 4)};

std::vector<TaskText> PlainTexts() {
  std::vector<TaskText> texts;
  for (const std::string& text : kTexts) texts.push_back({text, std::nullopt});
  return texts;
}

// The numbers that a task gives, text by text. `mean`: the head's pooling.
struct Asked {
  const char* name;
  HeadKind head;
  bool mean;
  std::function<std::vector<double>(Context& context, const TaskModel& model)> numbers;
};

std::vector<double> ClassScores(Context& context, const TaskModel& model) {
  std::vector<double> all;
  for (const ClassifiedText& text : Classify(context, model, PlainTexts())) {
    all.insert(all.end(), text.scores.begin(), text.scores.end());
  }
  return all;
}

std::vector<double> EntityScores(Context& context, const TaskModel& model) {
  std::vector<double> all;
  for (const auto& entities : ClassifyTokens(context, model, PlainTexts(), Aggregation::kNone)) {
    for (const TokenClass& entity : entities) {
      all.push_back(entity.score);
      all.push_back(static_cast<double>(entity.chars.begin));
    }
  }
  return all;
}

std::vector<double> AnswerScores(Context& context, const TaskModel& model) {
  std::vector<TaskText> pairs;
  for (const std::string& text : kTexts) pairs.push_back({"w1 w2", text});
  std::vector<double> all;
  for (const auto& answers : FindAnswers(context, model, pairs, {.most = 2})) {
    for (const Answer& answer : answers) {
      all.push_back(answer.score);
      all.push_back(static_cast<double>(answer.chars.end));
    }
  }
  return all;
}

std::vector<double> ChoiceScores(Context& context, const TaskModel& model) {
  const std::vector<Question> questions = {{Text(5, 1), {"w1", Text(20, 3), "w4"}},
                                           {Text(9, 2), {"w5", "w6 w7"}}};
  std::vector<double> all;
  for (const auto& scores : ScoreChoices(context, model, questions)) {
    all.insert(all.end(), scores.begin(), scores.end());
  }
  return all;
}

std::vector<double> Relevance(Context& context, const TaskModel& model) {
  std::vector<double> all;
  for (const RankedText& text : Reranker(model).Rank(context, "w1 w2", kTexts, 6)) {
    all.push_back(text.logit);
    all.push_back(static_cast<double>(text.text));
  }
  return all;
}

std::vector<double> Vectors(Context& context, const TaskModel& model) {
  VectorPlan plan;
  plan.pooling.modes = {PoolingMode::kCls, PoolingMode::kMean, PoolingMode::kMax};
  const Tensor vectors = EmbedRows(context, model, model.Encode(PlainTexts()), plan);
  return {vectors.data<float>(), vectors.data<float>() + vectors.size()};
}

class ModernBertTasks : public testing::TestWithParam<Asked> {};

TEST_P(ModernBertTasks, GiveEachTextItsOwnSideBySide) {
  const Asked& asked = GetParam();
  const TaskModel together = SmallModernTasks(asked.head, asked.mean, 1000);
  const TaskModel alone = SmallModernTasks(asked.head, asked.mean, 1);
  Context one(1), three(3);
  idx_t batches = 0;
  one.OnProgress([&](idx_t, idx_t) { ++batches; });
  const std::vector<double> a = asked.numbers(one, together), b = asked.numbers(three, together);
  const std::vector<double> apart = asked.numbers(three, alone);
  EXPECT_EQ(batches, 1);  // all texts in one row
  EXPECT_EQ(a, b);
  ASSERT_EQ(a.size(), apart.size());
  ASSERT_GE(a.size(), 5u);
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], apart[i], 1e-5) << i;
  EXPECT_GT(std::abs(a[0] - a[a.size() - 2]), 1e-4);  // texts differ
}

INSTANTIATE_TEST_SUITE_P(
    Tasks, ModernBertTasks,
    testing::Values(Asked{"classify", HeadKind::kSequence, false, ClassScores},
                    Asked{"rerank", HeadKind::kSequence, true, Relevance},
                    Asked{"token_classify", HeadKind::kToken, false, EntityScores},
                    Asked{"qa", HeadKind::kQuestion, false, AnswerScores},
                    Asked{"multiple_choice", HeadKind::kChoice, true, ChoiceScores},
                    Asked{"embed", HeadKind::kNone, false, Vectors}),
    [](const auto& asked) { return std::string(asked.param.name); });

}  // namespace
}  // namespace longspan
