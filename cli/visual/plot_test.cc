#include <fmt/format.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "cli/visual/cmd_plot.h"
#include "longspan/error.h"
#include "longspan/run_log.h"

namespace longspan::cli {
namespace {

class PlotTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / "longspan_plot_test";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ / "run");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path Write(const std::string& text, const std::string& run = "run") {
    std::filesystem::create_directories(folder_ / run);
    std::ofstream(folder_ / run / "metrics.jsonl", std::ios::binary) << text;
    return folder_ / run;
  }
  // The code of the error that reading gives, 0 for none; its text in message_.
  int ReadCode(const std::string& text) {
    try {
      ReadRunLog(Write(text));
    } catch (const Error& error) {
      message_ = error.what();
      return static_cast<int>(error.code());
    }
    return 0;
  }
  static int RunLine(std::vector<std::string> arguments) {
    CLI::App app;
    const Globals globals;
    Action action;
    RegisterPlot(app.add_subcommand("plot"), globals, action);
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
    return action();
  }
  static int Code(std::vector<std::string> arguments) {
    try {
      return RunLine(std::move(arguments));
    } catch (const Error& error) {
      return static_cast<int>(error.code());
    }
  }

  std::filesystem::path folder_;
  std::string message_;
};

const std::string kRun =
    "{\"kind\":\"train\",\"step\":1,\"loss\":5.5,\"bits_per_byte\":7.9,\"learning_rate\":1e-4}\n"
    "{\"kind\":\"train\",\"step\":3,\"loss\":4.0,\"bits_per_byte\":5.8,\"learning_rate\":2e-4}\n"
    "\n"
    "{\"kind\":\"eval\",\"step\":3,\"loss\":4.1,\"bits_per_byte\":5.9}\n"
    "{\"kind\":\"train\",\"step\":5,\"loss\":null,\"grad_norm\":2,\"note\":\"warm\"}\n";

TEST_F(PlotTest, ReadsARun) {
  const RunLog log = ReadRunLog(Write(kRun));
  EXPECT_EQ(log.name, "run");
  EXPECT_EQ(log.kinds.at("train").step, (std::vector<double>{1, 3, 5}));
  EXPECT_EQ(log.kinds.at("eval").step, (std::vector<double>{3}));
  const std::vector<double>& loss = *log.Find("train", "loss");
  EXPECT_EQ(loss[1], 4.0);
  EXPECT_TRUE(std::isnan(loss[2]));
  const std::vector<double>& norm = *log.Find("train", "grad_norm");
  EXPECT_TRUE(std::isnan(norm[0]));
  EXPECT_EQ(norm[2], 2);
  EXPECT_EQ(log.Find("eval", "learning_rate"), nullptr);
  EXPECT_EQ(log.Metrics(),
            (std::vector<std::string>{"bits_per_byte", "grad_norm", "learning_rate", "loss"}));
  EXPECT_EQ(ReadRunLog(folder_ / "run" / "metrics.jsonl").name, "run");
}

TEST_F(PlotTest, EveryTruncationReads) {
  const RunLog whole = ReadRunLog(Write(kRun));
  for (std::size_t bytes = kRun.find('\n'); bytes <= kRun.size(); ++bytes) {
    EXPECT_EQ(ReadCode(kRun.substr(0, bytes)), 0) << bytes << " bytes: " << message_;
  }
}

TEST_F(PlotTest, BadLinesNameFileAndLine) {
  const std::string good = "{\"kind\":\"train\",\"step\":1,\"loss\":5}\n";
  for (const std::string bad :
       {"{\"kind\":\"train\",\"st\n", "[]\n", "7\n", "{\"kind\":\"train\"}\n", "{\"step\":2}\n",
        "{\"kind\":\"train\",\"step\":\"2\"}\n", "{\"kind\":\"train\",\"step\":-2}\n",
        "{\"kind\":7,\"step\":2}\n", "{\"kind\":\"train\",\"step\":2,\"loss\":NaN}\n",
        "{\"kind\":\"train\",\"step\":1}\n",  // again
        "\xff\n"}) {
    EXPECT_EQ(ReadCode(good + bad + "{\"kind\":\"train\",\"step\":9}\n"), 3) << bad;
    EXPECT_NE(message_.find("metrics.jsonl:2"), std::string::npos) << message_;
    EXPECT_EQ(message_.find('\n'), std::string::npos) << message_;
  }
  EXPECT_EQ(ReadCode(""), 3);
  EXPECT_EQ(ReadCode("{\"ki"), 3);
  EXPECT_EQ(Code({"plot", (folder_ / "nothing").string()}), 4);
}

TEST_F(PlotTest, OneRunHasATrainingAndAnEvaluationLine) {
  const Chart chart = MakePlot({ReadRunLog(Write(kRun))}, {});
  ASSERT_EQ(chart.series.size(), 2u);
  EXPECT_EQ(chart.title, "run: bits per byte");
  EXPECT_EQ(chart.series[0].name, "train");
  EXPECT_EQ(chart.series[1].name, "eval (best 5.9 at step 3)");
  EXPECT_TRUE(chart.series[1].marked);
  EXPECT_NE(chart.series[0].color, chart.series[1].color);
}

TEST_F(PlotTest, TheLossIsNamedInTheTasksUnit) {
  const std::pair<const char*, const char*> kinds[] = {{"bits_per_byte", "nats per token"},
                                                       {"perplexity", "nats per masked token"},
                                                       {"macro_f1", "nats per text"},
                                                       {"exact_match", "nats per label"},
                                                       {"mse", "mean squared error"}};
  PlotOptions options;
  options.metric = "loss";
  for (const auto& [metric, unit] : kinds) {
    const std::string lines = fmt::format(
        "{{\"kind\":\"train\",\"step\":1,\"loss\":5.5}}\n"
        "{{\"kind\":\"eval\",\"step\":1,\"loss\":5.5,\"{}\":1.5}}\n",
        metric);
    const Chart chart = MakePlot({ReadRunLog(Write(lines))}, options);
    EXPECT_EQ(chart.y.label, fmt::format("loss ({})", unit));
  }
  const Chart chart =
      MakePlot({ReadRunLog(Write("{\"kind\":\"train\",\"step\":1,\"loss\":5.5}\n"))}, options);
  EXPECT_EQ(chart.y.label, "loss (nats)");
}

TEST_F(PlotTest, TheBestIsTheHighestWhereHigherIsBetter) {
  const std::string lines =
      "{\"kind\":\"eval\",\"step\":1,\"accuracy\":0.5}\n"
      "{\"kind\":\"eval\",\"step\":2,\"accuracy\":0.75}\n"
      "{\"kind\":\"eval\",\"step\":3,\"accuracy\":0.625}\n";
  PlotOptions options;
  options.metric = "accuracy";
  EXPECT_EQ(MakePlot({ReadRunLog(Write(lines))}, options).series[0].name,
            "eval (best 0.75 at step 2)");
}

TEST_F(PlotTest, ManySeedsShareAColorAndAnEntry) {
  std::vector<RunLog> runs;
  for (const char* kind : {"small", "large"}) {
    for (int seed = 1; seed <= 5; ++seed) {
      runs.push_back(ReadRunLog(Write(kRun, fmt::format("{}-s{}", kind, seed))));
    }
  }
  const Chart chart = MakePlot(runs, {});
  ASSERT_EQ(chart.series.size(), 20u);
  std::vector<std::string> entries;
  for (const Series& series : chart.series) {
    if (series.listed) entries.push_back(series.name);
  }
  EXPECT_EQ(entries, (std::vector<std::string>{"small-s* (5 runs)", "large-s* (5 runs)"}));
  EXPECT_EQ(chart.series[0].color, chart.series[9].color);
  EXPECT_NE(chart.series[0].color, chart.series[10].color);
  // Seven have a colour and an entry each, for both of their lines.
  runs.resize(7);
  std::set<idx_t> colors;
  std::size_t listed = 0;
  for (const Series& series : MakePlot(runs, {}).series) {
    colors.insert(series.color);
    listed += series.listed ? 1 : 0;
  }
  EXPECT_EQ(colors.size(), 7u);
  EXPECT_EQ(listed, 7u);
}

// Names of the legend's entries, in the order of the series.
std::vector<std::string> Entries(const Chart& chart) {
  std::vector<std::string> entries;
  for (const Series& series : chart.series) {
    if (series.listed) entries.push_back(series.name);
  }
  return entries;
}

TEST_F(PlotTest, EveryLineOfAFewRunsHasAnEntry) {
  const std::string train_only =
      "{\"kind\":\"train\",\"step\":1,\"loss\":5.0}\n"
      "{\"kind\":\"train\",\"step\":5,\"loss\":3.0}\n";
  PlotOptions options;
  options.metric = "loss";
  const RunLog evaluated = ReadRunLog(Write(kRun, "a")), other = ReadRunLog(Write(train_only, "b"));
  for (const std::vector<RunLog>& runs :
       {std::vector<RunLog>{evaluated, other}, std::vector<RunLog>{other, evaluated}}) {
    const Chart chart = MakePlot(runs, options);
    std::vector<std::string> entries = Entries(chart);
    std::sort(entries.begin(), entries.end());
    EXPECT_EQ(entries,
              (std::vector<std::string>{"a eval (best 4.1 at step 3)", "a train", "b train"}));
    EXPECT_EQ(chart.note, "");
    // A terminal tells all of them apart: by letters, with colours or without, or by marks.
    for (const bool color : {false, true}) {
      const std::string text = PrintChart(chart, {false, color, true, 80});
      const std::string reset = color ? std::string(kPlainColor) : std::string();
      const bool a_first = runs[0].name == "a";  // lines with marks stand last
      for (const std::string& entry : {"a" + reset + (a_first ? " a train" : " b train"),
                                       "b" + reset + (a_first ? " b train" : " a train"),
                                       "c" + reset + " a eval (best 4.1 at step 3)"}) {
        EXPECT_NE(text.find(entry), std::string::npos) << entry << "\n" << text;
      }
    }
    const std::string ascii = PrintChart(chart, {false, false, false, 80});
    for (const char* mark : {"** ", "oo ", "++ a eval"}) {
      EXPECT_NE(ascii.find(mark), std::string::npos) << mark << "\n" << ascii;
    }
  }
}

TEST_F(PlotTest, OneEntryForBothLinesOfManyRunsSaysSo) {
  std::vector<RunLog> runs;
  for (int run = 1; run <= 6; ++run) {
    runs.push_back(ReadRunLog(Write(kRun, fmt::format("run{}", run))));
  }
  EXPECT_EQ(Entries(MakePlot(runs, {})).size(), 12u);
  runs.push_back(ReadRunLog(Write(kRun, "run7")));
  const Chart chart = MakePlot(runs, {});
  EXPECT_EQ(Entries(chart).size(), 7u);
  EXPECT_NE(chart.note.find("two lines of a run: training, and evaluations"), std::string::npos);
}

TEST_F(PlotTest, AMetricOfNothingButNullsIsToldInOneLine) {
  PlotOptions options;
  options.metric = "pearson";
  const RunLog run =
      ReadRunLog(Write("{\"kind\":\"eval\",\"step\":1,\"mse\":2,\"pearson\":null}\n"));
  try {
    MakePlot({run}, options);
    FAIL() << "there is nothing to draw";
  } catch (const Error& error) {
    EXPECT_EQ(
        std::string(error.what()),
        "plot: no run has a number for 'pearson', every record of it is null; there are: mse");
  }
}

TEST_F(PlotTest, RunsShareAColorAndHaveDistinctNames) {
  const RunLog a = ReadRunLog(Write(kRun, "x/run")), b = ReadRunLog(Write(kRun, "y/run"));
  PlotOptions options;
  options.metric = "loss";
  const Chart chart = MakePlot({a, b}, options);
  ASSERT_EQ(chart.series.size(), 4u);
  EXPECT_EQ(chart.series[0].color, chart.series[1].color);
  EXPECT_NE(chart.series[0].color, chart.series[2].color);
  EXPECT_NE(chart.series[0].name, chart.series[2].name);
}

TEST_F(PlotTest, WritesPicturesTextAndJson) {
  const std::string run = Write(kRun).string();
  for (const char* name : {"loss.svg", "loss.png"}) {
    const std::string file = (folder_ / name).string();
    EXPECT_EQ(RunLine({"plot", run, "-o", file, "--metric", "loss", "--log-x", "--smooth", "0.5"}),
              0);
    EXPECT_GT(std::filesystem::file_size(file), 5000u);
  }
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunLine({"plot", run}), 0);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("run: bits per byte"), std::string::npos);
  testing::internal::CaptureStdout();
  EXPECT_EQ(RunLine({"plot", run, "--metric", "loss", "--json"}), 0);
  const auto document = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_EQ(document["metric"], "loss");
  EXPECT_EQ(document["series"][0]["points"][1]["value"], 4.0);
  EXPECT_TRUE(document["series"][0]["points"][2]["value"].is_null());
}

TEST_F(PlotTest, ErrorsHaveTheirCodesAndLeaveNoFile) {
  const std::string run = Write(kRun).string();
  EXPECT_EQ(Code({"plot", run, "-o", (folder_ / "loss.pdf").string()}), 2);
  EXPECT_EQ(Code({"plot", run, "--metric", "beauty"}), 2);
  EXPECT_EQ(Code({"plot", run, "-o", (folder_ / "no" / "such" / "loss.svg").string()}), 4);
  EXPECT_EQ(Code({"plot", run, "-o", (folder_ / "run").string() + "/.svg"}), 2);  // no extension
  EXPECT_THROW(RunLine({"plot"}), CLI::ParseError);
  EXPECT_THROW(RunLine({"plot", run, "--smooth", "1"}), CLI::ParseError);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "loss.pdf"));
}

// Mean and range at the steps that all runs of a group have.
TEST_F(PlotTest, GroupsAreRunsWhoseNamesDifferByDigitsAlone) {
  const auto line = [](const char* kind, int step, double loss) {
    return fmt::format("{{\"kind\": \"{}\", \"step\": {}, \"loss\": {}}}\n", kind, step, loss);
  };
  const std::vector<RunLog> runs = {
      ReadRunLog(Write(line("eval", 1, 4.0) + line("eval", 2, 3.0) + line("eval", 3, 9.0), "a-s1")),
      ReadRunLog(Write(line("eval", 1, 2.0) + line("eval", 2, 1.0), "a-s22")),
      ReadRunLog(Write(line("eval", 1, 7.0), "b"))};
  PlotOptions options;
  options.metric = "loss";
  options.group = true;
  const Chart chart = MakePlot(runs, options);
  ASSERT_EQ(chart.series.size(), 4u);
  EXPECT_EQ(chart.series[0].y, (std::vector<double>{2.0, 1.0}));
  EXPECT_EQ(chart.series[1].y, (std::vector<double>{4.0, 3.0}));
  EXPECT_EQ(chart.series[2].y, (std::vector<double>{3.0, 2.0}));
  EXPECT_EQ(chart.series[2].x, (std::vector<double>{1.0, 2.0}));
  EXPECT_EQ(chart.series[2].name, "a-s* eval (2 runs) (best 2 at step 2)");
  EXPECT_FALSE(chart.series[0].listed);
  EXPECT_TRUE(chart.series[0].faint);
  EXPECT_EQ(chart.series[3].name, "b eval (1 run) (best 7 at step 1)");
  EXPECT_NE(chart.series[3].color, chart.series[2].color);
}

}  // namespace
}  // namespace longspan::cli
