#include "cli/report_html.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longspan::cli {
namespace {

using test::PutFile;
using test::TempDir;
using test::Throws;

std::size_t Count(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class Report : public testing::Test {
 protected:
  RunReport Read(const std::string& predictions) {
    PutFile(
        d / "metrics.jsonl",
        "{\"kind\": \"train\", \"step\": 1, \"loss\": 2.0, \"learning_rate\": 0.1}\n"
        "{\"kind\": \"train\", \"step\": 2, \"loss\": 1.5, \"learning_rate\": 0.1}\n"
        "{\"kind\": \"eval\", \"step\": 2, \"loss\": 1.25, \"accuracy\": 0.75, \"seconds\": 61}\n");
    RunReport report;
    report.log = ReadRunLog(d.path());
    report.options = "learning-rate = 0.1\ntrain = [\"a<b>.csv\", \"c\"]\n";
    report.config = "{\"model_type\": \"<script>\"}";
    if (!predictions.empty()) {
      report.predictions = ReadPredictions(PutFile(d / "p.jsonl", predictions));
    }
    return report;
  }
  TempDir d;
};

TEST_F(Report, HasCurvesEvaluationsAndOptions) {
  const std::string page = ReportHtml(Read(""));
  EXPECT_EQ(Count(page, "<img src=\"data:image/svg+xml;base64,"), 3u);  // loss, accuracy, rate
  EXPECT_EQ(Count(page, "alt=\"Curve of accuracy\""), 1u);
  EXPECT_NE(page.find("<p>2 updates in 1:01.</p>"), page.npos);
  EXPECT_NE(page.find("<td class=\"number\">1.25</td>"), page.npos);
  EXPECT_NE(page.find("<tr><td>train</td><td>a&lt;b&gt;.csv, c</td></tr>"), page.npos);
  EXPECT_NE(page.find("&lt;script&gt;"), page.npos);
  EXPECT_EQ(page.find("<script"), page.npos);
  EXPECT_EQ(page.find("Predictions"), page.npos);
}

TEST_F(Report, HasAMatrixAndTheWorstOfClasses) {
  const auto line = [](const char* input, const char* gold, const char* predicted, double score) {
    return fmt::format(
        "{{\"input\": \"{}\", \"id\": 7, \"gold\": \"{}\", \"predicted\": \"{}\", \"right\": {}, "
        "\"scores\": [{{\"label\": \"{}\", \"score\": {}}}]}}\n",
        input, gold, predicted, std::string(gold) == predicted, predicted, score);
  };
  const std::string page =
      ReportHtml(Read(line("t:1", "a", "a", 0.9) + line("t:2", "b", "a", 0.6) +
                      line("t:3", "b", "a", 0.8) + line("t:4", "b", "b", 0.7)));
  EXPECT_NE(page.find("<p>4 texts, 2 right.</p>"), page.npos);
  EXPECT_NE(page.find("<tr><th>b</th><td class=\"number\">2</td><td class=\"number right\">1</td>"),
            page.npos);
  const std::size_t worst = page.find("Worst examples");
  ASSERT_NE(worst, page.npos);
  EXPECT_LT(page.find("t:3", worst), page.find("t:2", worst));
  EXPECT_EQ(page.find("t:1", worst), page.npos);
}

TEST_F(Report, KnowsNumbersAndSets) {
  const std::string numbers =
      ReportHtml(Read("{\"input\": \"n:1\", \"gold\": 1.0, \"predicted\": 1.5}\n"
                      "{\"input\": \"n:2\", \"gold\": 1.0, \"predicted\": 4}\n"));
  EXPECT_EQ(numbers.find("Confusion matrix"), numbers.npos);
  EXPECT_LT(numbers.find("n:2"), numbers.find("n:1"));
  const std::string sets = ReportHtml(
      Read("{\"input\": \"s:1\", \"gold\": [\"a\"], \"predicted\": [], \"right\": false}\n"));
  EXPECT_NE(sets.find("s:1"), sets.npos);
  EXPECT_EQ(sets.find("Confusion matrix"), sets.npos);
}

TEST_F(Report, ShowsTheTextsOfTheWorst) {
  const std::string page = ReportHtml(
      Read("{\"input\": \"s:1\", \"gold\": \"a\", \"predicted\": \"b\", \"right\": false, "
           "\"text\": \"cold <soup>\", \"text_pair\": \"late\"}\n"
           "{\"input\": \"s:2\", \"gold\": \"a\", \"predicted\": \"b\", \"right\": false, "
           "\"text\": 7}\n"));
  EXPECT_NE(page.find("<td class=\"said\">cold &lt;soup&gt;\nlate</td>"), page.npos);
  EXPECT_NE(page.find("<td class=\"said\"></td>"), page.npos);
}

TEST_F(Report, NamesWhatIsNoPrediction) {
  for (const char* text :
       {"{}\n", "nothing\n", "{\"input\": 3, \"gold\": 1, \"predicted\": 1}\n"}) {
    EXPECT_TRUE(Throws([&] { Read(text); }, ErrorCode::kFormat, "line 1: not a prediction"));
  }
  EXPECT_TRUE(Throws([&] { ReadPredictions(PutFile(d / "none", "")); }, ErrorCode::kFormat,
                     "has no predictions"));
}

}  // namespace
}  // namespace longspan::cli
