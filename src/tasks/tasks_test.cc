// Tasks on small random models with a tokenizer of words, against the same thing done by hand on
// the model's own logits.

#include "tasks/tasks_test.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/errors.h"
#include "families/longformer/family.h"
#include "families/model_inside.h"
#include "tasks/batches.h"
#include "tasks/scores.h"
#include "tasks/task_model.h"
#include "tests/support/files.h"
#include "tests/support/word_tokenizer.h"

namespace longspan {
namespace {

using test::Throws;
using text::Encoding;
using text::Overflow;

LongformerConfig SmallConfig(HeadKind head, idx_t longest = 62) {
  LongformerConfig config;
  config.head = head;
  config.attention_window = {8, 8};
  config.vocab_size = 60;
  config.hidden_size = 16;
  config.heads = 2;
  config.feed_forward_size = 32;
  config.max_positions = longest + 2;
  config.token_types = 1;
  config.labels = {"O", "B-PER", "I-PER"};
  return config;
}

TaskModel SmallModel(HeadKind head, const TaskOptions& options = {}, idx_t longest = 62) {
  Longformer model(SmallConfig(head, longest));
  model.Initialise(7);
  // Logits that differ: HF's initialisation is tiny.
  const View<float, 1> values = model.parameters().Write().values();
  for (idx_t i = 0; i < values.size(); ++i) values.data[i] *= 8.0f;
  return TaskModel(MakeModel(MakeTextModel(std::move(model)), MakeWords(WordFamily::kRoberta)),
                   options);
}

// The head's logits of one row by itself.
Tensor RowLogits(Context& context, TaskModel& model, const Encoding& row) {
  Tensor logits;
  RunRows(context, model, {&row, 1},
          [&](const TaskBatch& batch) { logits = LogitsOf(context, model, batch); });
  return logits;
}

std::vector<TaskText> Texts(std::initializer_list<std::string> texts) {
  std::vector<TaskText> list;
  for (const std::string& text : texts) list.push_back({text, std::nullopt});
  return list;
}

TEST(Scores, NumbersThatAreNoNumbersAreNoAnswers) {
  const std::vector<float> good = {1.0f, -3e38f, 0.0f}, nan = {1.0f, std::nanf("")},
                           infinite = {INFINITY, 0.0f};
  EXPECT_NO_THROW(CheckFinite(good, "its logits"));
  for (const auto& bad : {nan, infinite}) {
    EXPECT_TRUE(Throws([&] { CheckFinite(bad, "its logits"); }, ErrorCode::kNumeric,
                       "model: its logits are not finite"));
  }
}

TEST(Batches, LikeLengthsRunTogether) {
  const std::vector<idx_t> lengths = {5, 100, 99, 32, 31, 94, 93, 5, 1};
  const auto groups = PlanBatches(lengths, 200);
  idx_t seen = 0;
  std::vector<int> count(lengths.size(), 0);
  for (const auto& group : groups) {
    const idx_t longest = lengths[static_cast<std::size_t>(group[0])];
    EXPECT_TRUE(group.size() == 1 || static_cast<idx_t>(group.size()) * longest <= 200);
    for (const idx_t row : group) {
      EXPECT_LE(longest - lengths[static_cast<std::size_t>(row)], longest / kLeastShare);
      ++count[static_cast<std::size_t>(row)];
      ++seen;
    }
  }
  EXPECT_EQ(seen, 9);
  EXPECT_EQ(*std::min_element(count.begin(), count.end()), 1);
  EXPECT_EQ(groups, (std::vector<std::vector<idx_t>>{{1, 2}, {5, 6}, {3, 4}, {0, 7}, {8}}));
  EXPECT_TRUE(PlanBatches({}, 8).empty());
  EXPECT_EQ(PlanBatches(std::vector<idx_t>{500}, 8).size(), 1u);  // too long, yet it runs
}

TEST(Batches, SideBySideAnyLengthsRunTogether) {
  const std::vector<idx_t> lengths = {5, 100, 99, 32, 31, 94, 93, 5, 1};
  const auto groups = PlanSideBySide(lengths, 200);
  EXPECT_EQ(groups, (std::vector<std::vector<idx_t>>{{1, 2}, {5, 6}, {3, 4, 0, 7, 8}}));
  EXPECT_TRUE(PlanSideBySide({}, 8).empty());
  const std::vector<idx_t> long_ones = {500, 500, 8};
  EXPECT_EQ(PlanSideBySide(long_ones, 8).size(), 3u);  // too long, yet they run
}

TEST(Scores, SumToOneAndTheBestComeFirst) {
  const std::vector<float> logits = {1000.0f, 1001.0f, 999.0f};
  const auto p = Softmax(logits);
  EXPECT_NEAR(p[0] + p[1] + p[2], 1.0, 1e-12);
  EXPECT_NEAR(p[1] / p[0], std::exp(1.0), 1e-12);
  EXPECT_EQ(Largest(p, 2), (std::vector<idx_t>{1, 0}));
  EXPECT_EQ(Largest(std::vector<double>{1, 2, 2}, 9), (std::vector<idx_t>{1, 2, 0}));
  EXPECT_NEAR(Sigmoid(std::vector<float>{0.0f})[0], 0.5, 1e-15);
}

TEST(OwnTokensOf, EachTokenHasOneWindow) {
  const auto tokenizer = MakeWords(WordFamily::kRoberta);
  const auto windows = tokenizer->Encode(
      Text(23, 1), {.max_length = 10, .overflow = Overflow::kWindow, .stride = 3});
  ASSERT_GT(windows.size(), 2u);
  const auto own = OwnTokens(windows, 0);
  idx_t next = 0;
  for (std::size_t w = 0; w < windows.size(); ++w) {
    for (idx_t t = own[w].begin; t < own[w].end; ++t) {
      EXPECT_EQ(windows[w].first_token[0] + t - 1, next++);
    }
  }
  EXPECT_EQ(next, 23);
}

// The same rows, together and alone, and with any number of threads.
TEST(TaskModelRun, BatchesChangeNothing) {
  TaskModel together = SmallModel(HeadKind::kSequence);
  TaskModel alone = SmallModel(HeadKind::kSequence, {.batch_tokens = 1});
  const auto texts = Texts({Text(30, 1), Text(31, 2), "", Text(29, 3), "w3"});
  Context one(1), three(3);
  const TaskRows rows = together.Encode(texts, Overflow::kError);
  idx_t batches = 0, told = 0;
  one.OnProgress([&](idx_t done, idx_t all) {
    ++batches;
    told = done;
    EXPECT_EQ(all, 91 + 5 * 2);
  });
  const auto a = Classify(one, together, rows), b = Classify(three, alone, rows);
  const auto again = Classify(three, together, rows);
  EXPECT_EQ(batches, 1);  // texts of a Longformer stand side by side
  EXPECT_EQ(told, 91 + 5 * 2);
  EXPECT_EQ(together.CountGlobals(rows.rows), 5);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(a[i].scores, again[i].scores);
    for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(a[i].scores[c], b[i].scores[c], 1e-5);
  }
  EXPECT_NE(a[0].scores, a[1].scores);
}

// Positions that no text has are refused, as they are in rows of texts.
TEST(TaskModelRun, GlobalPositionsMustBeThoseOfSomeText) {
  const TaskModel model =
      SmallModel(HeadKind::kSequence, {.global = GlobalRule::Positions({0, 20})});
  Context context(1);
  const auto classify = [&](std::initializer_list<std::string> texts) {
    return Classify(context, model, model.Encode(Texts(texts), Overflow::kError));
  };
  EXPECT_EQ(classify({Text(30, 1), "w1"}).size(), 2u);
  EXPECT_TRUE(Throws(
      [&] {
        classify({Text(10, 1), Text(11, 2)});
      },
      ErrorCode::kUsage,
      "global: position 20 is not one of 13 tokens; positions: (and ids:) count the tokens of a "
      "row from 0, token:20 is the token with that id"));
}

TEST(TaskModelOptions, AreChecked) {
  EXPECT_TRUE(
      Throws([] { SmallModel(HeadKind::kToken, {.global = GlobalRule::Parse("token:<wolf>")}); },
             ErrorCode::kUsage, "'<wolf>' is no token"));
  EXPECT_TRUE(Throws([] { SmallModel(HeadKind::kToken, {.max_length = 63}); }, ErrorCode::kUsage,
                     "tokens: 63 is not from 1 to 62"));
  EXPECT_TRUE(Throws([] { SmallModel(HeadKind::kToken, {.stride = -1}); }, ErrorCode::kUsage,
                     "stride: -1"));
  EXPECT_EQ(SmallModel(HeadKind::kToken, {.global = GlobalRule::Token("<mask>")}).global_name(),
            "token:4");
  EXPECT_EQ(SmallModel(HeadKind::kSequence).global_name(), "ids:0");
  EXPECT_EQ(SmallModel(HeadKind::kMaskedLm).global_name(), "none");
}

TEST(TaskModelEncode, SaysWhichTextIsTooLong) {
  const TaskModel model = SmallModel(HeadKind::kSequence);
  const auto texts = Texts({"w1", Text(61, 1)});
  const std::vector<std::string> names = {"a", "b.txt"};
  EXPECT_TRUE(
      Throws([&] { model.Encode(texts, Overflow::kError, names); }, ErrorCode::kLimit, "b.txt: "));
  EXPECT_TRUE(
      Throws([&] { model.Encode(texts, Overflow::kError); }, ErrorCode::kLimit, "text 2: "));
  const TaskRows windows = model.Encode(texts, Overflow::kWindow);
  EXPECT_EQ(windows.of(0).size(), 1u);
  EXPECT_EQ(windows.of(1).size(), 2u);
  EXPECT_EQ(windows.tokens(1), 61 + 4);
  const TaskRows cut = model.Encode(texts, Overflow::kTruncate);
  EXPECT_EQ(cut.of(1)[0].size(), 62);
  EXPECT_EQ(cut.dropped(1), 1);
}

TEST(ClassifyTexts, IsTheSoftmaxOfTheLogitsAndTheMeanOfWindows) {
  Context context(2);
  TaskModel model = SmallModel(HeadKind::kSequence, {.max_length = 20});
  const auto texts = Texts({Text(10, 4), Text(25, 5)});
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  const auto scores = Classify(context, model, rows);
  ASSERT_EQ(rows.rows.size(), 3u);
  std::vector<std::vector<double>> each;
  for (const Encoding& row : rows.rows) {
    const Tensor logits = RowLogits(context, model, row);
    each.push_back(Softmax({logits.data<float>(), 3}));
  }
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(scores[0].scores[c], each[0][c], 1e-6);
    EXPECT_NEAR(scores[1].scores[c], (20 * each[1][c] + 9 * each[2][c]) / 29, 1e-6);
  }
}

TEST(ClassifyTexts, SetsOfLabelsAndNumbers) {
  ModelInfo info = SmallModel(HeadKind::kSequence).info();
  EXPECT_EQ(ScoresOf(info), ScoreKind::kClasses);
  info.problem = ProblemType::kMultiLabel;
  EXPECT_EQ(ScoresOf(info), ScoreKind::kLabels);
  info.problem = ProblemType::kInferred;
  info.labels = {"LABEL_0"};
  EXPECT_EQ(ScoresOf(info), ScoreKind::kValues);
}

TEST(FillMasksOf, AreTheLogitsAtTheMask) {
  Context context(2);
  TaskModel model = SmallModel(HeadKind::kMaskedLm, {.max_length = 12, .stride = 4});
  const auto texts = Texts({"w1 <mask> w3 <mask>", Text(9, 1) + " <mask> " + Text(9, 2), "<mask>"});
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  const auto filled = FillMasks(context, model, texts, rows, 60);
  ASSERT_EQ(filled[0].masks.size(), 2u);
  ASSERT_EQ(filled[1].masks.size(), 1u);  // though two windows see it
  EXPECT_EQ(filled[0].masks[0].chars, (text::Span{3, 9}));
  const Tensor logits = RowLogits(context, model, rows.rows[0]);
  const auto p = Softmax({logits.data<float>() + 2 * 60, 60});  // <s> w1 <mask>
  const FilledMask& mask = filled[0].masks[0];
  ASSERT_EQ(mask.guesses.size(), 60u);
  for (const MaskGuess& guess : mask.guesses) {
    EXPECT_NEAR(guess.score, p[static_cast<std::size_t>(guess.id)], 1e-6);
  }
  EXPECT_EQ(mask.guesses[0].token, model.tokenizer().TokenOf(mask.guesses[0].id));
  const auto bare = Texts({"w1"});
  EXPECT_TRUE(
      Throws([&] { FillMasks(context, model, bare, model.Encode(bare, Overflow::kError), 1); },
             ErrorCode::kUsage, "text 1: has no <mask>"));
}

TEST(TokenClasses, SpansFollowTheTags) {
  Context context(2);
  TaskModel model = SmallModel(HeadKind::kToken);
  const auto texts = Texts({Text(50, 1)});
  const TaskRows rows = model.Encode(texts, Overflow::kError);
  const auto none = ClassifyTokens(context, model, rows, Aggregation::kNone)[0];
  const auto simple = ClassifyTokens(context, model, rows, Aggregation::kSimple)[0];
  const Tensor logits = RowLogits(context, model, rows.rows[0]);
  // By hand: BIO over the arg-max of each token.
  std::vector<std::pair<idx_t, idx_t>> spans;
  std::size_t tokens = 0;
  bool inside = false;
  for (idx_t t = 1; t <= 50; ++t) {
    const auto best = Largest(Softmax({logits.data<float>() + t * 3, 3}), 1)[0];
    if (best > 0) {
      EXPECT_EQ(none[tokens].label, best == 1 ? "B-PER" : "I-PER");
      EXPECT_EQ(none[tokens].chars, rows.rows[0].chars[static_cast<std::size_t>(t)]);
      ++tokens;
      if (best == 1 || !inside) spans.push_back({t, t});
      spans.back().second = t;
    }
    inside = best > 0;
  }
  EXPECT_EQ(none.size(), tokens);
  ASSERT_EQ(simple.size(), spans.size());
  ASSERT_GT(spans.size(), 1u);
  EXPECT_LT(spans.size(), tokens);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    EXPECT_EQ(simple[i].label, "PER");
    EXPECT_EQ(simple[i].chars.begin,
              rows.rows[0].chars[static_cast<std::size_t>(spans[i].first)].begin);
    EXPECT_EQ(simple[i].chars.end,
              rows.rows[0].chars[static_cast<std::size_t>(spans[i].second)].end);
  }
  // No two tokens touch each other here, so words are tokens.
  EXPECT_EQ(ClassifyTokens(context, model, rows, Aggregation::kFirst)[0].size(), simple.size());
  EXPECT_TRUE(Throws([] { ParseAggregation("last"); }, ErrorCode::kUsage, "'last'"));
}

TEST(Answers, AreTheBestPairOfStartAndEnd) {
  Context context(2);
  TaskModel model = SmallModel(HeadKind::kQuestion);
  const std::vector<TaskText> texts = {{"w1 w2", Text(20, 6)}};
  const TaskRows rows = model.Encode(texts, Overflow::kError);
  const auto answers = FindAnswers(context, model, rows, {.most = 3, .longest = 4})[0];
  const Tensor logits = RowLogits(context, model, rows.rows[0]);
  const Encoding& row = rows.rows[0];
  std::vector<float> starts, ends;
  for (idx_t t = 0; t < row.size(); ++t) {
    if (t > 0 && row.sequence[static_cast<std::size_t>(t)] != 1) continue;
    starts.push_back(logits.data<float>()[2 * t]);
    ends.push_back(logits.data<float>()[2 * t + 1]);
  }
  const auto ps = Softmax(starts), pe = Softmax(ends);  // [0] is the first token
  std::vector<double> scores;
  for (std::size_t s = 1; s < ps.size(); ++s) {
    for (std::size_t e = s; e < std::min(s + 4, pe.size()); ++e) scores.push_back(ps[s] * pe[e]);
  }
  std::sort(scores.rbegin(), scores.rend());
  ASSERT_EQ(answers.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(answers[i].score, scores[i], 1e-7);
  EXPECT_LT(answers[0].chars.begin, answers[0].chars.end);
  constexpr idx_t kMost = std::numeric_limits<idx_t>::max();
  const auto any = FindAnswers(context, model, rows, {.most = 3, .longest = kMost})[0];
  const auto whole = FindAnswers(context, model, rows, {.most = 3, .longest = row.size()})[0];
  ASSERT_EQ(any.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(any[i].score, whole[i].score);
  const auto none =
      FindAnswers(context, model, rows, {.most = 100, .longest = 1, .may_be_none = true})[0];
  ASSERT_EQ(none.size(), 21u);
  const auto it = std::find_if(none.begin(), none.end(), [](const Answer& a) { return a.none; });
  ASSERT_NE(it, none.end());
  EXPECT_NEAR(it->score, ps[0] * pe[0], 1e-7);
}

TEST(Answers, OfOverlappingWindowsAreOne) {
  Context context(2);
  TaskModel model = SmallModel(HeadKind::kQuestion, {.max_length = 20, .stride = 8});
  const std::vector<TaskText> texts = {{"w1 w2", Text(40, 6)}};
  const TaskRows rows = model.Encode(texts, Overflow::kWindow);
  ASSERT_GT(rows.rows.size(), 3u);
  const auto answers = FindAnswers(context, model, rows, {.most = 40, .longest = 1})[0];
  ASSERT_EQ(answers.size(), 40u);  // each token once
  for (std::size_t i = 1; i < answers.size(); ++i) {
    EXPECT_GE(answers[i - 1].score, answers[i].score);
  }
}

TEST(Choices, AreScoredTogether) {
  Context context(2);
  TaskModel model = SmallModel(HeadKind::kChoice);
  const std::vector<Question> questions = {{Text(5, 1), {"w1", "w2 w3", "w4"}},
                                           {Text(9, 2), {"w5", "w6"}}};
  const auto pairs = ChoicePairs(questions);
  const TaskRows rows = model.Encode(pairs, Overflow::kError);
  const auto scores = ScoreChoices(context, model, questions, rows);
  std::vector<float> logits;
  for (std::size_t i = 0; i < 3; ++i) {
    logits.push_back(RowLogits(context, model, rows.rows[i]).data<float>()[0]);
  }
  const auto p = Softmax(logits);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(scores[0][i], p[i], 1e-6);
  EXPECT_NEAR(scores[1][0] + scores[1][1], 1.0, 1e-12);
  // The choice is global, behind the double separator.
  EXPECT_EQ(model.global_name(), "choices");
  EXPECT_GT(model.CountGlobals(rows.rows), 0);
}

}  // namespace
}  // namespace longspan
