// Measures by hand: what no other package records, and what is refused.
#include "longspan/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "metrics/compensated_sum.h"
#include "tests/support/files.h"

namespace longspan::metrics {
namespace {

using test::Throws;

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

TEST(CompensatedSumTest, KeepsWhatAPlainSumLoses) {
  CompensatedSum sum;
  for (const double value : {1.0, 1e100, 1.0, -1e100}) sum.Add(value);
  EXPECT_EQ(sum.value(), 2.0);
  CompensatedSum infinite;
  infinite.Add(1.0);
  infinite.Add(std::numeric_limits<double>::infinity());
  EXPECT_EQ(infinite.value(), std::numeric_limits<double>::infinity());
}

TEST(ClassMetricsTest, AsByHand) {
  // Truth a a b c, predicted a b b a; nobody is or gets d.
  const std::vector<std::uint8_t> truth = {1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
  const std::vector<std::uint8_t> predicted = {1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0};
  const auto scores = ScoreClasses({"a", "b", "c", "d"}, truth, predicted);
  EXPECT_DOUBLE_EQ(scores[0].precision, 0.5);
  EXPECT_DOUBLE_EQ(scores[0].recall, 0.5);
  EXPECT_DOUBLE_EQ(scores[1].precision, 0.5);
  EXPECT_DOUBLE_EQ(scores[1].recall, 1.0);
  EXPECT_DOUBLE_EQ(scores[1].f1, 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(scores[2].f1, 0.0);
  EXPECT_EQ(scores[0].support, 2);
  EXPECT_EQ(scores[0].predicted, 2);
  EXPECT_EQ(scores[0].hits, 1);
  EXPECT_DOUBLE_EQ(AverageOf(scores, Average::kMacro).f1, (0.5 + 2.0 / 3.0 + 0.0) / 3.0);
  EXPECT_DOUBLE_EQ(AverageOf(scores, Average::kMicro).f1, 0.5);
  EXPECT_DOUBLE_EQ(AverageOf(scores, Average::kWeighted).recall, 0.5);
  EXPECT_EQ(AverageOf({}, Average::kMacro).f1, 0.0);
}

TEST(ClassMetricsTest, AreasOfFewRows) {
  const std::vector<std::uint8_t> truth = {1, 0, 1, 0};
  EXPECT_EQ(RocAuc(truth, std::vector<double>{4, 3, 2, 1}), 0.75);
  EXPECT_EQ(RocAuc(truth, std::vector<double>{1, 1, 1, 1}), 0.5);
  EXPECT_EQ(RocAuc(truth, std::vector<double>{2, 1, 1, 0}), 0.875);  // one tie counts a half
  EXPECT_EQ(AveragePrecision(truth, std::vector<double>{1, 1, 1, 1}), 0.5);
  EXPECT_TRUE(std::isnan(RocAuc({}, {})));
  EXPECT_EQ(AveragePrecision({}, {}), 0.0);
  EXPECT_TRUE(std::isnan(Accuracy({}, {})));
}

TEST(ClassMetricsTest, AveragePrecisionIsTheMeanOverLabelsThatOccur) {
  // The second label orders its rows rightly, the first has 1/2 and then 2/3, nothing has the
  // third.
  const std::vector<std::uint8_t> truth = {0, 1, 0, 1, 0, 0, 1, 0, 0};
  const std::vector<double> scores = {0.9, 0.8, 0.1, 0.8, 0.2, 0.2, 0.7, 0.1, 0.3};
  EXPECT_DOUBLE_EQ(MacroAveragePrecision(truth, scores, 3), (0.5 * (0.5 + 2.0 / 3.0) + 1.0) / 2.0);
  EXPECT_TRUE(std::isnan(MacroRocAuc(truth, scores, 3)));
  EXPECT_EQ(MacroAveragePrecision(std::vector<std::uint8_t>{0, 0}, std::vector<double>{1, 2}, 2),
            0.0);
}

TEST(ClassMetricsTest, RefusesWhatDoesNotFit) {
  const std::vector<std::uint8_t> truth = {1, 0};
  const std::vector<double> nan = {0.5, kNotANumber}, three = {1, 2, 3};
  EXPECT_TRUE(Throws([&] { RocAuc(truth, nan); }, ErrorCode::kNumeric, "score 1 is NaN"));
  EXPECT_TRUE(Throws([&] { AveragePrecision(truth, nan); }, ErrorCode::kNumeric, "score 1 is NaN"));
  EXPECT_TRUE(Throws([&] { RocAuc(truth, three); }, ErrorCode::kUsage, "2 labels for 3 scores"));
  EXPECT_TRUE(Throws(
      [&] {
        MacroRocAuc(truth, std::vector<double>{1, 2}, 3);
      },
      ErrorCode::kUsage, "no rows of 3 labels"));
  EXPECT_TRUE(Throws(
      [&] {
        ScoreClasses({"a", "b", "c"}, truth, truth);
      },
      ErrorCode::kUsage, "3 labels"));
  EXPECT_TRUE(Throws([&] { ScoreClasses({}, truth, truth); }, ErrorCode::kUsage, "0 labels"));
  EXPECT_TRUE(Throws([] { Accuracy(std::vector<std::int32_t>{1}, {}); }, ErrorCode::kUsage, "1"));
}

TEST(ClassMetricsTest, WilsonsInterval) {
  // For 8 of 10 Brown, Cai and DasGupta (2001) give (0.490, 0.943).
  const ShareInterval interval = WilsonInterval(8, 10);
  EXPECT_NEAR(interval.low, 0.490, 5e-4);
  EXPECT_NEAR(interval.high, 0.943, 5e-4);
  EXPECT_DOUBLE_EQ(WilsonInterval(10, 10).high, 1.0);
}

TEST(CorrelationTest, AsByHand) {
  const std::vector<float> a = {1, 2, 3, 4}, b = {2, 4, 6, 8}, c = {4, 3, 2, 1}, d = {1, 3, 2, 4};
  const auto pearson = [&](const std::vector<float>& other) {
    return Pearson(std::span<const float>(a), std::span<const float>(other));
  };
  EXPECT_NEAR(pearson(b), 1.0, 1e-12);
  EXPECT_NEAR(pearson(c), -1.0, 1e-12);
  EXPECT_NEAR(pearson(d), 0.8, 1e-12);
  EXPECT_TRUE(std::isnan(pearson(std::vector<float>(4, 0.1f))));
  EXPECT_NEAR(Spearman(std::span<const float>(a), std::span<const float>(d)), 0.8, 1e-12);
  EXPECT_EQ(MeanSquaredError(a, c), 5.0);
  EXPECT_TRUE(std::isnan(MeanSquaredError({}, {})));
  EXPECT_TRUE(Throws([&] { pearson({1}); }, ErrorCode::kUsage, "4 numbers for 1"));
  EXPECT_TRUE(Throws([] { MeanRanks(std::vector<double>{kNotANumber}); }, ErrorCode::kNumeric,
                     "value 0 is NaN"));
  const std::vector<double> infinite = {1, std::numeric_limits<double>::infinity()}, two = {1, 2};
  EXPECT_TRUE(std::isnan(Pearson(infinite, two)));
}

TEST(RankingTest, RelevantDocumentsThatAreNotFoundCount) {
  // Three are relevant; the search found two of them, at places 2 and 4.
  const RankedQuery query = {{0, 1, 0, 2}, {1, 2, 3}};
  EXPECT_DOUBLE_EQ(RecallAt(query, 10), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(RecallAt(query, 3), 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(AveragePrecisionAt(query, 10), (1.0 / 2 + 2.0 / 4) / 3);
  EXPECT_DOUBLE_EQ(AveragePrecisionAt(query, 2), (1.0 / 2) / 3);
  EXPECT_DOUBLE_EQ(ReciprocalRank(query, 10), 0.5);
  EXPECT_DOUBLE_EQ(ReciprocalRank(query, 1), 0.0);
  const double best = 3 + 2 / std::log2(3.0) + 1 / 2.0;
  EXPECT_DOUBLE_EQ(Ndcg(query, 10), (1 / std::log2(3.0) + 2 / std::log2(5.0)) / best);
  EXPECT_DOUBLE_EQ(Ndcg(query, 1), 0.0);
  const RankedQuery none = {{0, 0}, {}};
  const RankingScore mean = ScoreRankings(std::vector<RankedQuery>{query, none}, 10);
  EXPECT_EQ(mean.queries, 2);
  EXPECT_EQ(mean.without, 1);
  EXPECT_DOUBLE_EQ(mean.mrr, 0.25);
  EXPECT_DOUBLE_EQ(mean.recall, 1.0 / 3.0);
  EXPECT_TRUE(std::isnan(ScoreRankings({}, 10).map));
}

TEST(RankingTest, TiesKeepTheOrderOfCandidates) {
  const std::vector<double> gains = {0, 1, 0};
  EXPECT_EQ(RankByScore(std::vector<double>{1, 1, 1}, gains).found, gains);
  EXPECT_EQ(RankByScore(std::vector<double>{1, 2, 3}, gains).found, (std::vector<double>{0, 1, 0}));
  EXPECT_EQ(RankByScore(std::vector<double>{1, 3, 3}, gains).found, (std::vector<double>{1, 0, 0}));
}

TEST(RankingTest, RefusesWhatIsNone) {
  EXPECT_TRUE(Throws([] { Ndcg({{1}, {1}}, 0); }, ErrorCode::kUsage, "k is 0, need at least 1"));
  EXPECT_TRUE(Throws([] { Ndcg({{-1}, {}}, 1); }, ErrorCode::kUsage, "gain -1 is not finite"));
  EXPECT_TRUE(Throws([] { Ndcg({{}, {0}}, 1); }, ErrorCode::kUsage, "gain 0 of a relevant"));
  EXPECT_TRUE(Throws(
      [] {
        RecallAt({{1, 1}, {1}}, 1);
      },
      ErrorCode::kUsage, "2 relevant documents"));
  const std::vector<double> nan = {kNotANumber}, gain = {1};
  EXPECT_TRUE(Throws([&] { RankByScore(nan, gain); }, ErrorCode::kNumeric, "score 0 is NaN"));
}

TEST(AnswerTest, QuestionsWithoutAnAnswer) {
  EXPECT_TRUE(Throws([] { ScoreAnswer("x", {}, Squad::k1_1); }, ErrorCode::kUsage, "use 2.0"));
  EXPECT_TRUE(std::isnan(ScoreAnswers({}, Squad::k2_0).all.f1));
  const std::vector<AnsweredQuestion> questions = {{"", {}}, {"x", {}}, {"x y", {"x"}}};
  const AnswersScore score = ScoreAnswers(questions, Squad::k2_0);
  EXPECT_EQ(score.questions, 3);
  EXPECT_EQ(score.answerable, 1);
  EXPECT_DOUBLE_EQ(score.no_answer.exact, 0.5);
  EXPECT_DOUBLE_EQ(score.has_answer.exact, 0.0);
  EXPECT_DOUBLE_EQ(score.has_answer.f1, 2.0 / 3.0);
}

TEST(EntityTest, RefusesTagsThatAreNone) {
  for (const char* tag : {"O", "B", "S", "I-PER", "E-", "B-A-B"}) EXPECT_TRUE(IsEntityTag(tag));
  for (const char* tag : {"", "PER", "BPER", "o", "LABEL_0", "OO"}) EXPECT_FALSE(IsEntityTag(tag));
  EXPECT_TRUE(Throws(
      [] {
        FindEntities(std::vector<std::string>{"O", "PER"});
      },
      ErrorCode::kUsage, "tag 'PER' is none of O, B"));
  using Sentences = std::vector<std::vector<std::string>>;
  EXPECT_TRUE(Throws(
      [] {
        ScoreEntities(Sentences{{"O"}}, Sentences{{"O", "O"}});
      },
      ErrorCode::kUsage, "sentence 0 has 1 true tags and 2"));
  EXPECT_TRUE(
      Throws([] { ScoreEntities(Sentences{{"O"}}, {}); }, ErrorCode::kUsage, "1 sentences"));
}

}  // namespace
}  // namespace longspan::metrics
