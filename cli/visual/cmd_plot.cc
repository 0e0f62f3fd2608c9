#include "cli/visual/cmd_plot.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "cli/check.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/plot_groups.h"
#include "cli/visual/text.h"
#include "longspan/counted.h"

namespace longspan::cli {
namespace {

struct MetricName {
  std::string_view field, label;
  bool lower_is_better;
};
constexpr std::array<MetricName, 18> kMetrics = {{
    {"bits_per_byte", "bits per byte", true},
    {"perplexity", "perplexity", true},
    {"accuracy", "accuracy (share that is right)", false},
    {"auc", "area under the ROC curve", false},
    {"macro_f1", "macro F1", false},
    {"micro_f1", "micro F1", false},
    {"weighted_f1", "weighted F1", false},
    {"mcc", "Matthews' correlation", false},
    {"exact_match", "whole sets that are right (share)", false},
    {"mse", "mean squared error", true},
    {"pearson", "correlation with the labels (Pearson)", false},
    {"spearman", "correlation of the ranks (Spearman)", false},
    {"learning_rate", "learning rate", false},
    {"grad_norm", "gradient norm", false},
    {"tokens", "tokens seen", false},
    {"tokens_per_s", "tokens per second", false},
    {"rss_bytes", "resident memory (bytes)", false},
    {"seconds", "seconds", false},
}};

// What the loss of a run is counted in: a classifier has metrics that no other task has.
std::string LossUnit(const RunLog& run) {
  const auto has = [&](const char* metric) {
    return run.Find("eval", metric) != nullptr || run.Find("train", metric) != nullptr;
  };
  if (has("bits_per_byte")) return "nats per token";
  if (has("perplexity")) return "nats per masked token";
  if (has("mse")) return "mean squared error";
  if (has("exact_match")) return "nats per label";
  if (has("macro_f1")) return "nats per text";
  return "nats";
}

std::string MetricLabel(const std::string& field, const std::vector<RunLog>& runs) {
  for (const MetricName& metric : kMetrics) {
    if (metric.field == field) return std::string(metric.label);
  }
  if (field != "loss") return field;
  std::set<std::string> units;
  for (const RunLog& run : runs) units.insert(LossUnit(run));
  return units.size() == 1 ? fmt::format("loss ({})", *units.begin())
                           : "loss (each run in its task's unit)";
}

bool LowerIsBetter(const std::string& field) {
  for (const MetricName& metric : kMetrics) {
    if (metric.field == field) return metric.lower_is_better;
  }
  return field.find("loss") != std::string::npos;
}

bool HigherIsBetter(const std::string& field) {
  constexpr std::string_view kHigher[] = {"accuracy",    "auc",         "macro_f1",
                                          "micro_f1",    "weighted_f1", "mcc",
                                          "exact_match", "pearson",     "spearman"};
  return std::find(std::begin(kHigher), std::end(kHigher), field) != std::end(kHigher);
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

// "best 1.93 at step 400", where it is known which way is better.
std::string BestOf(const Series& series, const std::string& place, const std::string& field) {
  const bool higher = HigherIsBetter(field);
  if (!higher && !LowerIsBetter(field)) return "";
  std::size_t best = series.y.size();
  for (std::size_t i = 0; i < series.y.size(); ++i) {
    if (!std::isfinite(series.y[i])) continue;
    const bool first = best == series.y.size();
    if (first || (higher ? series.y[i] > series.y[best] : series.y[i] < series.y[best])) best = i;
  }
  if (best == series.y.size()) return "";
  return fmt::format("best {:.4g} at {}{}", series.y[best], place,
                     static_cast<idx_t>(series.x[best]));
}

// A colour for each run, while there are enough. Of more runs those share one whose names differ by
// digits alone: seeds of one kind, as a rule.
struct RunColors {
  std::vector<idx_t> color;         // of each run
  std::vector<std::string> groups;  // by colour, where runs share them: "small-s*"
  std::vector<idx_t> members;       // how many runs
};

RunColors ColorsOf(const std::vector<std::string>& names) {
  RunColors colors;
  const bool grouped = static_cast<idx_t>(names.size()) > kSeriesColors;
  for (const std::string& name : names) {
    const std::string kind = grouped ? WithoutDigits(name) : name;
    const auto known = std::find(colors.groups.begin(), colors.groups.end(), kind);
    const idx_t place = known - colors.groups.begin();
    if (known == colors.groups.end()) {
      colors.groups.push_back(kind);
      colors.members.push_back(0);
    }
    ++colors.members[static_cast<std::size_t>(place)];
    colors.color.push_back(place);
  }
  return colors;
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
  PrintResult(DumpJson(document, 1));
  return 0;
}

}  // namespace

namespace {

// What is wrong with a metric that no run has a number of.
[[noreturn]] void FailWithoutValues(const std::vector<RunLog>& runs, const std::string& metric) {
  bool recorded = false;
  std::set<std::string> known;
  for (const RunLog& run : runs) {
    for (const std::string& name : run.Metrics()) {
      recorded = recorded || name == metric;
      if (run.Find("train", name) != nullptr || run.Find("eval", name) != nullptr) {
        known.insert(name);
      }
    }
  }
  Fail(ErrorCode::kUsage, "plot: {}; there are: {}",
       recorded ? fmt::format("no run has a number for '{}', every record of it is null",
                              Printable(metric))
                : fmt::format("no run has the metric '{}'", Printable(metric)),
       Printable(fmt::format("{}", fmt::join(known, ", "))));
}

constexpr std::size_t kMostListed = 12;  // entries of the legend

// Whether each line among those of several runs has an entry of its own. Otherwise a run, or a
// group of runs in one colour, has one entry for all of its lines.
bool EachLineIsListed(const std::vector<RunLog>& runs, const std::string& metric) {
  std::size_t lines = 0;
  for (const RunLog& run : runs) {
    for (const char* kind : {"train", "eval"}) lines += run.Find(kind, metric) != nullptr ? 1 : 0;
  }
  return static_cast<idx_t>(runs.size()) <= kSeriesColors && lines <= kMostListed;
}

// The legend's entry of a run among several: its own, or the first of its group that is drawn.
void ListRun(const RunColors& colors, const std::string& best, idx_t color, std::set<idx_t>& listed,
             Series& series) {
  const auto group = static_cast<std::size_t>(color);
  series.listed = listed.size() < kMostListed && listed.insert(color).second;
  if (!series.listed) return;
  if (colors.members[group] > 1) {
    series.name = fmt::format("{} ({} runs)", colors.groups[group], colors.members[group]);
  } else if (!best.empty()) {
    series.name += " (" + best + ")";
  }
}

// With `each` every line is listed, and the name of an evaluation tells its best.
void AddRun(const RunLog& run, const std::string& name, bool alone, bool each,
            const PlotOptions& options, idx_t color, Chart* chart,
            std::vector<std::string>* bests) {
  const bool steps = options.x_label.empty();
  for (const bool eval : {false, true}) {
    const std::string kind = eval ? "eval" : "train";
    const std::vector<double>* values = run.Find(kind, options.metric);
    if (values == nullptr) continue;
    Series series;
    series.x = run.kinds.at(kind).step;
    series.y = *values;
    series.marked = eval;
    const std::string best =
        eval ? BestOf(series, steps ? "step " : "", options.metric) : std::string();
    // One run: a colour each for training and evaluation. Several: a colour for each run. What is
    // no run but a measurement has nothing that was evaluated on the way.
    series.name = !steps ? name : alone ? kind : fmt::format("{} {}", name, kind);
    if (each && !best.empty()) series.name += " (" + best + ")";
    series.color = alone ? (eval ? 1 : 0) : color;
    series.dashed = !alone && color / kSeriesColors % 2 == 1;
    series.faint =
        !eval && !alone && options.smoothing == 0 && run.Find("eval", options.metric) != nullptr;
    chart->series.push_back(std::move(series));
    bests->push_back(best);
  }
}

}  // namespace

namespace {

// A line for the mean of each group of runs, between two pale ones for its range.
Chart PlotGroups(const std::vector<RunLog>& runs, const PlotOptions& options) {
  Chart chart;
  const std::vector<GroupCurve> curves = GroupRuns(runs, DistinctNames(runs), options.metric);
  if (curves.empty()) FailWithoutValues(runs, options.metric);
  for (const GroupCurve& curve : curves) {
    const bool eval = curve.kind == "eval";
    const std::string name =
        fmt::format("{} {} ({})", curve.group, curve.kind, Counted(curve.runs, "run"));
    Series mean;
    mean.x = curve.step;
    mean.color = curve.place;
    mean.dashed = curve.place / kSeriesColors % 2 == 1;
    Series low = mean, high = mean;
    mean.y = curve.mean;
    mean.marked = eval;
    mean.name = name;
    const std::string best = eval ? BestOf(mean, "step ", options.metric) : std::string();
    if (!best.empty()) mean.name += " (" + best + ")";
    for (Series* edge : {&low, &high}) {
      edge->y = edge == &low ? curve.low : curve.high;
      edge->name = name + (edge == &low ? " lowest" : " highest");
      edge->faint = true;
      edge->listed = false;
    }
    if (curve.runs > 1) {
      chart.series.push_back(std::move(low));
      chart.series.push_back(std::move(high));
    }
    chart.series.push_back(std::move(mean));
  }
  chart.note = "means of runs whose names differ by digits alone; pale: their range";
  return chart;
}

}  // namespace

Chart MakePlot(const std::vector<RunLog>& runs, const PlotOptions& given) {
  PlotOptions options = given;
  options.metric = ChosenMetric(runs, given);
  const std::string what = MetricLabel(options.metric, runs);
  Chart chart = options.group ? PlotGroups(runs, options) : Chart();
  chart.x = {options.x_label.empty() ? "step" : options.x_label, options.log_x};
  chart.y = {what, options.log_y};
  chart.smoothing = options.smoothing;
  if (options.group) {
    chart.title = options.title.empty() ? what : options.title;
    return chart;
  }
  const std::vector<std::string> names = DistinctNames(runs);
  const RunColors colors = ColorsOf(names);
  std::set<idx_t> listed;
  const bool alone = runs.size() == 1, each = EachLineIsListed(runs, options.metric);
  bool both = false;  // one entry stands for a line of training and one of evaluations
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const std::size_t first = chart.series.size();
    std::vector<std::string> bests;
    AddRun(runs[r], names[r], alone, each, options, colors.color[r], &chart, &bests);
    if (each || chart.series.size() == first) continue;
    both = both || bests.size() == 2;
    if (bests.size() == 2) chart.series[first].listed = false;
    ListRun(colors, bests.back(), colors.color[r], listed, chart.series.back());
  }
  if (chart.series.empty()) FailWithoutValues(runs, options.metric);
  chart.title = options.title;
  if (chart.title.empty()) {
    chart.title = runs.size() == 1 ? fmt::format("{}: {}", names[0], what) : what;
  }
  if (both) chart.note = "two lines of a run: training, and evaluations (with marks in a picture)";
  if (options.smoothing > 0) {
    chart.note += fmt::format("{}training smoothed ({}), raw values pale", both ? "; " : "",
                              options.smoothing);
  }
  if (static_cast<idx_t>(runs.size()) > kSeriesColors) {
    chart.note += fmt::format("{}{} runs, those of like names in one colour",
                              chart.note.empty() ? "" : "; ", runs.size());
  }
  if (runs.size() > 1 && colors.groups.size() > kMostListed) {
    chart.note += fmt::format(", {} without an entry here", colors.groups.size() - kMostListed);
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
  plot->add_flag("--group", options->group,
                 "Draw mean and range of runs whose names differ by digits alone (seeds)");
  plot->add_flag("--log-x", options->log_x, "Draw the step axis logarithmically");
  plot->add_flag("--log-y", options->log_y, "Draw the metric axis logarithmically");
  plot->add_option("--smooth", options->smoothing,
                   "Smoothing of the training curve by a moving average, from 0 (none) to below 1")
      ->check(CLI::Range(0.0, 0.9999).description(""))
      ->capture_default_str();
  plot->add_option("--title", options->title, "Title of the picture");
  plot->add_option("--x-label", options->x_label,
                   "Name of the step axis, for files that are no runs (default: step)");
  plot->add_flag("--json", options->json, "Print the points as JSON");
  plot->footer(
      "Examples:\n"
      "  longspan plot out/\n"
      "  longspan plot small/ large/ -o loss.svg --metric loss --log-x --smooth 0.9\n"
      "  longspan plot small/ large/ --group");
  plot->callback([options, &action] { action = [options] { return RunPlot(*options); }; });
}

}  // namespace longspan::cli
