// The measures beside those of scikit-learn, scipy, torchmetrics, seqeval and SQuAD's programs, on
// the predictions of tests/metrics (written by tools/make_metric_fixtures.py).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "longspan/metrics.h"
#include "tests/support/files.h"

namespace longspan::metrics {
namespace {

using nlohmann::json;

// Both sides round sums of at most 40 terms in double.
constexpr double kRounding = 1e-13;
// torchmetrics computes in fp32.
constexpr double kSingle = 1e-7;

json Recorded(const char* name) {
  return json::parse(test::GetFile(test::kRoot / "tests" / "metrics" / name));
}

double NumberOf(const json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

std::vector<double> NumbersOf(const json& list) {
  std::vector<double> numbers;
  for (const json& item : list) {
    if (item.is_array()) {
      for (const json& inner : item) numbers.push_back(NumberOf(inner));
    } else {
      numbers.push_back(NumberOf(item));
    }
  }
  return numbers;
}

void ExpectEqual(double got, const json& recorded, double tolerance = kRounding) {
  const double wanted = NumberOf(recorded);
  if (std::isnan(wanted)) {
    EXPECT_TRUE(std::isnan(got)) << got;
  } else {
    EXPECT_NEAR(got, wanted, tolerance);
  }
}

void ExpectAverage(const AverageScore& got, const json& recorded) {
  ExpectEqual(got.precision, recorded[0]);
  ExpectEqual(got.recall, recorded[1]);
  ExpectEqual(got.f1, recorded[2]);
}

// Rows of zeros and ones: of classes at the class's place, of sets as they are recorded.
std::vector<std::uint8_t> Hot(const json& rows, std::size_t classes) {
  std::vector<std::uint8_t> hot;
  for (const json& row : rows) {
    if (row.is_array()) {
      for (const json& value : row) hot.push_back(value.get<std::uint8_t>());
    } else {
      hot.resize(hot.size() + classes, 0);
      hot[hot.size() - classes + row.get<std::size_t>()] = 1;
    }
  }
  return hot;
}

TEST(RecordedMetrics, Classes) {
  const json cases = Recorded("classes.json");
  ASSERT_GE(cases.size(), 11u);
  for (const json& c : cases) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto labels = c["classes"].get<std::size_t>();
    std::vector<std::string> names;
    for (std::size_t k = 0; k < labels; ++k) names.push_back(std::to_string(k));
    const std::vector<std::uint8_t> truth = Hot(c["truth"], labels);
    const auto scored = ScoreClasses(names, truth, Hot(c["predicted"], labels));
    for (std::size_t k = 0; k < labels; ++k) {
      ExpectEqual(scored[k].precision, c["precision"][k]);
      ExpectEqual(scored[k].recall, c["recall"][k]);
      ExpectEqual(scored[k].f1, c["f1"][k]);
      EXPECT_EQ(scored[k].support, c["support"][k].get<idx_t>());
    }
    ExpectAverage(AverageOf(scored, Average::kMacro), c["macro"]);
    ExpectAverage(AverageOf(scored, Average::kMicro), c["micro"]);
    ExpectAverage(AverageOf(scored, Average::kWeighted), c["weighted"]);
    const std::vector<double> scores = NumbersOf(c["scores"]);
    if (c["problem"] == "single") {
      ExpectEqual(MatthewsCorrelation(scored), c["mcc"]);
      ExpectEqual(Accuracy(c["truth"].get<std::vector<std::int32_t>>(),
                           c["predicted"].get<std::vector<std::int32_t>>()),
                  c["accuracy"]);
    }
    if (labels == 2) {
      std::vector<double> second;
      std::vector<std::uint8_t> is_second;
      for (std::size_t i = 1; i < scores.size(); i += 2) {
        second.push_back(scores[i]);
        is_second.push_back(truth[i]);
      }
      ExpectEqual(RocAuc(is_second, second), c["auc"]);
      ExpectEqual(AveragePrecision(is_second, second), c["average_precision"]);
    } else {
      const auto width = static_cast<idx_t>(labels);
      ExpectEqual(MacroRocAuc(truth, scores, width), c["auc"]);
      // scikit-learn counts a label that no row has as 0. Here it has no part in the mean.
      const auto with_a_row = std::count_if(scored.begin(), scored.end(),
                                            [](const ClassScore& s) { return s.support > 0; });
      ExpectEqual(MacroAveragePrecision(truth, scores, width) * static_cast<double>(with_a_row) /
                      static_cast<double>(width),
                  c["average_precision"]);
    }
  }
}

TEST(RecordedMetrics, Numbers) {
  for (const json& c : Recorded("numbers.json")) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const std::vector<double> a = NumbersOf(c["a"]), b = NumbersOf(c["b"]);
    // scipy refuses a single pair; here its correlation is NaN.
    const auto wanted = [&](const char* name) { return c[name] == "refused" ? json() : c[name]; };
    // A mean of 1e8 leaves 8 of 16 digits to the deviations.
    const double tolerance = c["name"] == "far from 0" ? 1e-8 : kRounding;
    ExpectEqual(Pearson(a, b), wanted("pearson"), tolerance);
    ExpectEqual(Spearman(a, b), wanted("spearman"));
    if (!c["ranks"].is_null()) {
      EXPECT_EQ(MeanRanks(a), NumbersOf(c["ranks"]));
    }
  }
}

TEST(RecordedMetrics, Rankings) {
  for (const json& c : Recorded("rankings.json")) {
    const auto k = c["k"].get<idx_t>();
    SCOPED_TRACE(c["name"].get<std::string>() + " at " + std::to_string(k));
    const RankedQuery query = RankByScore(NumbersOf(c["scores"]), NumbersOf(c["gains"]));
    ExpectEqual(Ndcg(query, k), c["ndcg"]);
    ExpectEqual(ReciprocalRank(query, k), c["mrr"], kSingle);
    ExpectEqual(RecallAt(query, k), c["recall"], kSingle);
    ExpectEqual(AveragePrecisionAt(query, std::ssize(query.found)), c["map"]);
  }
}

TEST(RecordedMetrics, Answers) {
  const json recorded = Recorded("answers.json");
  std::vector<AnsweredQuestion> questions;
  for (const json& c : recorded["cases"]) {
    const AnsweredQuestion q = {c["answer"], c["right"]};
    SCOPED_TRACE(q.answer);
    EXPECT_EQ(NormalizeAnswer(q.answer), c["normalized"].get<std::string>());
    const AnswerScore second = ScoreAnswer(q.answer, q.right, Squad::k2_0);
    ExpectEqual(second.exact, c["exact_2"]);
    ExpectEqual(second.f1, c["f1_2"]);
    if (c.contains("exact_1")) {
      const AnswerScore first = ScoreAnswer(q.answer, q.right, Squad::k1_1);
      ExpectEqual(first.exact, c["exact_1"]);
      ExpectEqual(first.f1, c["f1_1"]);
    }
    questions.push_back(q);
  }
  const AnswersScore score = ScoreAnswers(questions, Squad::k2_0);
  const auto expect = [](const AnswerScore& got, const json& wanted) {
    ExpectEqual(100.0 * got.exact, wanted["exact"], 1e-11);
    ExpectEqual(100.0 * got.f1, wanted["f1"], 1e-11);
  };
  expect(score.all, recorded["total"]["all"]);
  expect(score.has_answer, recorded["total"]["has_answer"]);
  expect(score.no_answer, recorded["total"]["no_answer"]);
  EXPECT_EQ(score.answerable, recorded["total"]["has_answer"]["total"].get<idx_t>());
}

using Sentences = std::vector<std::vector<std::string>>;

TEST(RecordedMetrics, Entities) {
  for (const json& c : Recorded("entities.json")) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const auto truth = c["truth"].get<Sentences>();
    for (std::size_t s = 0; s < truth.size(); ++s) {
      json found = json::array();  // seqeval's ends are included
      for (const Entity& e : FindEntities(truth[s])) found.push_back({e.type, e.begin, e.end - 1});
      EXPECT_EQ(found, c["found"][s]);
    }
    const EntityScores scores = ScoreEntities(truth, c["predicted"].get<Sentences>());
    ASSERT_EQ(scores.types.size(), c["types"].size());
    for (std::size_t i = 0; i < scores.types.size(); ++i) {
      EXPECT_EQ(scores.types[i].name, c["types"][i].get<std::string>());
      ExpectEqual(scores.types[i].precision, c["precision"][i]);
      ExpectEqual(scores.types[i].recall, c["recall"][i]);
      ExpectEqual(scores.types[i].f1, c["f1"][i]);
      EXPECT_EQ(scores.types[i].support, c["support"][i].get<idx_t>());
    }
    if (!c.contains("micro")) continue;  // no entity: seqeval has no mean
    ExpectAverage(scores.micro, c["micro"]);
    ExpectAverage(scores.macro, c["macro"]);
    ExpectAverage(scores.weighted, c["weighted"]);
  }
}

}  // namespace
}  // namespace longspan::metrics
