#include "cli/visual/chart.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>

#include "cli/visual/text.h"
#include "longspan/error.h"

namespace longspan::cli {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Chart Falling() {
  Chart chart;
  chart.title = "a <title> & \"more\"";
  chart.x.label = "step";
  chart.y.label = "loss";
  Series train{"train", {}, {}}, eval{"eval", {}, {}};
  for (int step = 0; step < 400; ++step) {
    train.x.push_back(step);
    train.y.push_back(2 + 6 * std::exp(-step / 50.0) + 0.1 * std::sin(step));
    if (step % 100 != 99) continue;
    eval.x.push_back(step);
    eval.y.push_back(2.1 + 6 * std::exp(-step / 50.0));
  }
  eval.color = 1;
  eval.marked = true;
  chart.series = {train, eval};
  return chart;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

TEST(DrawChart, SvgIsSelfContainedAndEscaped) {
  const std::string svg = DrawChart(Falling(), PictureFormat::kSvg);
  EXPECT_NE(svg.find("<title>a &lt;title&gt; &amp; &quot;more&quot;</title>"), std::string::npos);
  EXPECT_NE(svg.find("<desc>Line chart of loss against step. train: 400 points"),
            std::string::npos);
  EXPECT_NE(svg.find("width=\"880px\""), std::string::npos);
  EXPECT_EQ(svg.substr(svg.size() - 7), "</svg>\n");
  for (std::size_t at = svg.find("href=\""); at != std::string::npos;
       at = svg.find("href=\"", at + 1)) {
    EXPECT_EQ(svg[at + 6], '#') << "refers to something outside: " << svg.substr(at, 40);
  }
}

TEST(DrawChart, PngHasItsSizeAndItsEnd) {
  const std::string png = DrawChart(Falling(), PictureFormat::kPng);
  EXPECT_EQ(png.substr(1, 3), "PNG");
  EXPECT_EQ(static_cast<unsigned char>(png[18]) * 256 + static_cast<unsigned char>(png[19]), 1760);
  EXPECT_EQ(static_cast<unsigned char>(png[22]) * 256 + static_cast<unsigned char>(png[23]), 1000);
  EXPECT_EQ(png.substr(png.size() - 8, 4), "IEND");
}

TEST(DrawChart, AnyValuesDraw) {
  Chart chart = Falling();
  chart.series[0].y[3] = kNan;
  chart.series[0].y[4] = HUGE_VAL;
  chart.series.push_back({"empty", {}, {}});
  chart.series.push_back({"one \xff point", {7}, {1e308}});
  chart.smoothing = 0.9;
  for (const bool log : {false, true}) {
    chart.x.log = chart.y.log = log;
    EXPECT_GT(DrawChart(chart, PictureFormat::kPng).size(), 1000u);
    EXPECT_GT(DrawChart(chart, PictureFormat::kSvg).size(), 1000u);
    EXPECT_GT(PrintChart(chart, Terminal{}).size(), 500u);
  }
}

TEST(DrawChart, ManyPointsStaySmallAndKeepTheirSpike) {
  Chart chart;
  Series series{"train", {}, {}};
  for (int step = 0; step < 300000; ++step) {
    series.x.push_back(step);
    series.y.push_back(step == 150001 ? 9 : 1 + 0.01 * (step % 7));
  }
  chart.series = {series};
  EXPECT_LT(DrawChart(chart, PictureFormat::kSvg).size(), 400000u);
  const std::string with = DrawChart(chart, PictureFormat::kPng);
  chart.series[0].y[150001] = 1;
  chart.series[0].y[0] = 9;  // same scale
  EXPECT_NE(with, DrawChart(chart, PictureFormat::kPng));
}

TEST(CheckChart, SaysWhatIsWrong) {
  Chart chart = Falling();
  chart.series[0].y.pop_back();
  EXPECT_THROW(CheckChart(chart), Error);
  chart = Falling();
  chart.smoothing = 1;
  EXPECT_THROW(CheckChart(chart), Error);
  chart = Falling();
  chart.y.log = true;
  for (Series& series : chart.series) std::fill(series.y.begin(), series.y.end(), -1);
  try {
    CheckChart(chart);
    FAIL() << "a logarithmic axis without a positive value";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("'loss'"), std::string::npos);
  }
}

TEST(Smooth, IsAMeanOfWhatCameBeforeWithWeightsThatSumToOne) {
  // 1, 0.5, 0.25 at distances 0, 1, 2.
  const std::vector<double> smooth = Smooth({8, 0, 4, 0}, {0, 1, 2, 3}, 0.5);
  EXPECT_DOUBLE_EQ(smooth[0], 8);  // not drawn to 0 at the beginning
  EXPECT_DOUBLE_EQ(smooth[1], 8 * 0.5 / 1.5);
  EXPECT_DOUBLE_EQ(smooth[2], (8 * 0.25 + 4) / 1.75);
  // Twice as far apart: the square of the weight.
  EXPECT_DOUBLE_EQ(Smooth({8, 0}, {0, 2}, 0.5)[1], 8 * 0.25 / 1.25);
}

TEST(Smooth, StaysFlatWhereTheDataAreFlat) {
  std::vector<double> values, places;
  for (int i = 0; i < 200; ++i) {
    places.push_back(i);
    values.push_back(i < 100 ? 5.0 : std::max(1.0, 5.0 - (i - 100)));
  }
  const std::vector<double> smooth = Smooth(values, places, 0.9);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_NEAR(smooth[i], 5.0, 1e-12) << i;
  for (const double value : smooth) EXPECT_GE(value, 1.0);  // never below the data
  EXPECT_NEAR(smooth[199], 1.0, 1e-3);
}

TEST(Smooth, LeavesGapsAlone) {
  std::vector<double> values(50, 3.0), places;
  for (int i = 0; i < 50; ++i) {
    places.push_back(i + 0.3 * (i % 3));
    if (i % 7 == 6) values[static_cast<std::size_t>(i)] = kNan;
  }
  const std::vector<double> smooth = Smooth(values, places, 0.9);
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(std::isnan(smooth[i]), std::isnan(values[i]));
    if (std::isnan(values[i])) continue;
    EXPECT_NEAR(smooth[i], 3.0, 1e-12);
  }
  EXPECT_EQ(Smooth({5}, {0}, 0.9), (std::vector<double>{5}));
  EXPECT_EQ(Smooth({5, 7}, {0, 0}, 0.9), (std::vector<double>{5, 6}));  // at the same place
  EXPECT_TRUE(Smooth({}, {}, 0.9).empty());
}

TEST(Smooth, TakesNoiseAway) {
  std::vector<double> values, places;
  for (int i = 0; i < 1000; ++i) {
    places.push_back(i);
    values.push_back(i % 2 == 0 ? 1 : -1);
  }
  const std::vector<double> smooth = Smooth(values, places, 0.95);
  for (std::size_t i = 100; i < smooth.size(); ++i) EXPECT_LT(std::abs(smooth[i]), 0.15);
}

TEST(Prepare, SmoothingKeepsRawValuesPaleAndEvaluationsAsTheyAre) {
  Chart chart = Falling();
  chart.smoothing = 0.9;
  const PreparedChart prepared = Prepare(chart);
  ASSERT_EQ(prepared.series.size(), 3u);
  EXPECT_TRUE(prepared.series[0].faint);
  EXPECT_EQ(prepared.series[0].y, chart.series[0].y);
  EXPECT_NE(prepared.series[1].y, chart.series[0].y);
  EXPECT_EQ(prepared.series[2].y, chart.series[1].y);
}

TEST(Prepare, BeginsAtZeroUnlessThatHidesEverything) {
  Chart chart;
  chart.from_zero = true;
  chart.series = {{"line", {1, 2, 4}, {30, 60, 90}}};
  EXPECT_EQ(Prepare(chart).y.low, 0);
  chart.series[0].y = {90, 92, 95};
  EXPECT_GT(Prepare(chart).y.low, 80);
  chart.series[0].y = {-5, 2, 95};
  EXPECT_LT(Prepare(chart).y.low, -5);
}

TEST(DarkForm, TurnsLightnessRoundAndKeepsTheHue) {
  const Color paper = DarkForm(kWhite), ink = DarkForm(kInk), green = DarkForm(Rgb(0x009e73));
  EXPECT_LT(paper.red, 0.1);
  EXPECT_NEAR(paper.red, paper.blue, 1e-12);
  EXPECT_GT(ink.green, 0.7);
  EXPECT_GT(green.green, green.blue);
  EXPECT_GT(green.blue, green.red);
  EXPECT_GT(green.green - paper.green, 0.5);
}

TEST(DrawChart, SvgHasADarkForm) {
  const std::string svg = DrawChart(Falling(), PictureFormat::kSvg);
  const std::size_t dark = svg.find("prefers-color-scheme: dark");
  ASSERT_NE(dark, std::string::npos);
  EXPECT_LT(dark, svg.find("</style>"));
  // White paper gets a rule of its own, and every colour that is drawn has one.
  EXPECT_NE(svg.find("rgb(100%,100%,100%)", dark), std::string::npos);
  const std::string rules = svg.substr(dark, svg.find("</style>") - dark);
  for (std::size_t at = svg.find("rgb("); at != std::string::npos; at = svg.find("rgb(", at + 1)) {
    EXPECT_NE(rules.find(svg.substr(at, svg.find(')', at) + 1 - at)), std::string::npos);
  }
}

TEST(PrintChart, FitsTheTerminal) {
  for (const idx_t width : {20, 40, 80, 133}) {
    for (const bool utf8 : {false, true}) {
      for (const bool color : {false, true}) {
        const std::string text = PrintChart(Falling(), {true, color, utf8, width});
        for (const std::string& line : Lines(text)) EXPECT_LE(Columns(line), width) << line;
        EXPECT_EQ(text.find('\x1b') != std::string::npos, color);
        const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0; });
        EXPECT_EQ(ascii, !utf8);
      }
    }
  }
}

TEST(PrintChart, CurveFallsFromTheTopLeftToTheBottomRight) {
  Chart chart;
  chart.series = {{"line", {0, 1}, {1, 0}}};
  const std::vector<std::string> lines = Lines(PrintChart(chart, {false, false, false, 40}, 10));
  std::vector<std::size_t> columns;
  for (const std::string& line : lines) {
    if (line.find_first_of("|+") != std::string::npos && line.find('*') != std::string::npos) {
      columns.push_back(line.find('*', line.find_first_of("|+")));
    }
  }
  ASSERT_GE(columns.size(), 10u);
  EXPECT_TRUE(std::is_sorted(columns.end() - 10, columns.end()));
}

TEST(PrintChart, LettersTellSeriesApartWithoutColors) {
  const std::string text = PrintChart(Falling(), {false, false, true, 60});
  EXPECT_NE(text.find("a train   b eval"), std::string::npos);
  EXPECT_GE(std::count(text.begin(), text.end(), 'a'), 4);
  const std::string colored = PrintChart(Falling(), {false, true, true, 60});
  EXPECT_EQ(colored.find("a train"), std::string::npos);
}

}  // namespace
}  // namespace longspan::cli
