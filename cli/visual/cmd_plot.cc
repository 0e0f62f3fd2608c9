#include "cli/visual/cmd_plot.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/errors.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "io/json.h"

namespace longspan::cli {
namespace {

struct MetricName {
  std::string_view field, label;
  bool lower_is_better;
};
constexpr std::array<MetricName, 7> kMetrics = {{
    {"bits_per_byte", "bits per byte", true},
    {"loss", "loss (nats per token)", true},
    {"learning_rate", "learning rate", false},
    {"grad_norm", "gradient norm", false},
    {"tokens_per_s", "tokens per second", false},
    {"rss_bytes", "resident memory (bytes)", false},
    {"seconds", "seconds", false},
}};

std::string MetricLabel(const std::string& field) {
  for (const MetricName& metric : kMetrics) {
    if (metric.field == field) return std::string(metric.label);
  }
  return field;
}

bool LowerIsBetter(const std::string& field) {
  for (const MetricName& metric : kMetrics) {
    if (metric.field == field) return metric.lower_is_better;
  }
  return field.find("loss") != std::string::npos || field.find("perplexity") != std::string::npos;
}

// Two runs may have the same directory name: then the paths tell them apart.
std::vector<std::string> DistinctNames(const std::vector<RunLog>& runs) {
  std::multiset<std::string> seen;
  for (const RunLog& run : runs) seen.insert(run.name);
  std::vector<std::string> names;
  for (const RunLog& run : runs) {
    names.push_back(seen.count(run.name) == 1 ? run.name : run.file.string());
  }
  return names;
}

std::string ChosenMetric(const std::vector<RunLog>& runs, const PlotOptions& options) {
  if (!options.metric.empty()) return options.metric;
  const std::string bits = "bits_per_byte";
  for (const RunLog& run : runs) {
    if (run.Find("train", bits) != nullptr || run.Find("eval", bits) != nullptr) return bits;
  }
  return "loss";
}

std::string EvalNote(const Series& series, const std::string& place, bool lower_is_better) {
  if (!lower_is_better) return "";
  std::size_t best = series.y.size();
  for (std::size_t i = 0; i < series.y.size(); ++i) {
    if (!std::isfinite(series.y[i])) continue;
    if (best == series.y.size() || series.y[i] < series.y[best]) best = i;
  }
  if (best == series.y.size()) return "";
  return fmt::format(" (best {:.4g} at {}{})", series.y[best], place,
                     static_cast<idx_t>(series.x[best]));
}

int PrintJson(const Chart& chart, const std::string& metric) {
  nlohmann::ordered_json document = {{"metric", metric},
                                     {"series", nlohmann::ordered_json::array()}};
  for (const Series& series : chart.series) {
    nlohmann::ordered_json values = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      values.push_back({{"step", static_cast<idx_t>(series.x[i])}, {"value", series.y[i]}});
    }
    document["series"].push_back({{"name", Printable(series.name)},
                                  {"kind", series.marked ? "eval" : "train"},
                                  {"points", std::move(values)}});
  }
  PrintResult(io::DumpJson(document, 1));
  return 0;
}

}  // namespace

Chart MakePlot(const std::vector<RunLog>& runs, const PlotOptions& given) {
  PlotOptions options = given;
  options.metric = ChosenMetric(runs, given);
  Chart chart;
  const bool steps = options.x_label.empty();
  chart.x = {steps ? "step" : options.x_label, options.log_x};
  chart.y = {MetricLabel(options.metric), options.log_y};
  chart.smoothing = options.smoothing;
  const std::vector<std::string> names = DistinctNames(runs);
  std::set<std::string> known;
  for (std::size_t r = 0; r < runs.size(); ++r) {
    for (const std::string& metric : runs[r].Metrics()) known.insert(metric);
    for (const bool eval : {false, true}) {
      const std::string kind = eval ? "eval" : "train";
      const std::vector<double>* values = runs[r].Find(kind, options.metric);
      if (values == nullptr) continue;
      Series series;
      series.x = runs[r].kinds.at(kind).step;
      series.y = *values;
      series.name = runs.size() == 1 ? kind : fmt::format("{} {}", names[r], kind);
      if (!steps)
        series.name = names[r];  // no run but a measurement: nothing was evaluated on the way
      if (eval) {
        series.name += EvalNote(series, steps ? "step " : "", LowerIsBetter(options.metric));
      }
      // One run: a colour each for training and evaluation. Several: a colour for each run.
      series.color = runs.size() == 1 ? (eval ? 1 : 0) : static_cast<idx_t>(r);
      series.marked = eval;
      series.faint = !eval && runs.size() > 1 && options.smoothing == 0 &&
                     runs[r].Find("eval", options.metric) != nullptr;
      chart.series.push_back(std::move(series));
    }
  }
  Check(!chart.series.empty(), ErrorCode::kUsage, "plot: no run has the metric '{}'; there are: {}",
        Printable(options.metric), Printable(fmt::format("{}", fmt::join(known, ", "))));
  const std::string what = MetricLabel(options.metric);
  chart.title = options.title;
  if (chart.title.empty()) {
    chart.title = runs.size() == 1 ? fmt::format("{}: {}", names[0], what) : what;
  }
  if (options.smoothing > 0) {
    chart.note = fmt::format("training curve smoothed ({}), raw values pale", options.smoothing);
  }
  return chart;
}

int RunPlot(const PlotOptions& options) {
  if (!options.output.empty()) {  // what is wrong with it fails before the work
    FormatOf(options.output);
    CheckIsNoInput(options.output, options.runs);
  }
  std::vector<RunLog> runs;
  for (const std::string& run : options.runs) runs.push_back(ReadRunLog(run));
  const Chart chart = MakePlot(runs, options);
  CheckChart(chart);
  if (!options.output.empty()) {
    WritePicture(options.output, DrawChart(chart, FormatOf(options.output)));
  }
  if (options.json) return PrintJson(chart, ChosenMetric(runs, options));
  if (options.output.empty()) PrintResult(PrintChart(chart, DetectTerminal(STDOUT_FILENO)));
  return 0;
}

void RegisterPlot(CLI::App* plot, const Globals& /*globals*/, Action& action) {
  auto options = std::make_shared<PlotOptions>();
  plot->add_option("RUN", options->runs, "Folders of runs, or metrics.jsonl files")->required();
  plot->add_option("-o,--output", options->output,
                   "Picture to write, .svg or .png (default: draw in the terminal)")
      ->type_name("FILE");
  plot->add_option("--metric", options->metric,
                   "Metric to draw: bits_per_byte, loss, accuracy, learning_rate, grad_norm, ... "
                   "(default: the first of these that is there)");
  plot->add_flag("--log-x", options->log_x, "Draw the step axis logarithmically");
  plot->add_flag("--log-y", options->log_y, "Draw the metric axis logarithmically");
  plot->add_option("--smooth", options->smoothing,
                   "Smoothing of the training curve, from 0 (none) to below 1")
      ->check(CLI::Range(0.0, 0.9999).description(""))
      ->capture_default_str();
  plot->add_option("--title", options->title, "Title of the picture");
  plot->add_option("--x-label", options->x_label,
                   "Name of the step axis, for files that are no runs (default: step)");
  plot->add_flag("--json", options->json, "Print the points as JSON");
  plot->footer(
      "Examples:\n"
      "  longspan plot out/\n"
      "  longspan plot small/ large/ -o loss.svg --metric loss --log-x --smooth 0.9");
  plot->callback([options, &action] { action = [options] { return RunPlot(*options); }; });
}

}  // namespace longspan::cli
