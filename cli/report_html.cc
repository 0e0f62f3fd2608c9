#include "cli/report_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/check.h"
#include "cli/html_page.h"
#include "cli/toml.h"
#include "cli/training.h"
#include "cli/visual/cmd_plot.h"
#include "longspan/counted.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

using ReportJson = nlohmann::json;

constexpr std::uint64_t kMostPredictionBytes = std::uint64_t{1} << 30;
constexpr std::size_t kMostMatrixLabels = 30;  // of more the pairs that are mixed up most often
constexpr std::size_t kMostWorst = 20;
constexpr std::size_t kMostEvaluations = 100;  // the newest ones

constexpr std::string_view kReportStyle = R"(img { width: 100%; height: auto; }
pre {
  overflow-x: auto; background: var(--card); border: 1px solid var(--line); padding: 1rem;
  font-size: .8rem;
}
table.wide { display: block; overflow-x: auto; }
td.right { font-weight: 700; }
td.said { white-space: pre-line; min-width: 20rem; }
)";

// ---- predictions --------------------------------------------------------------------------------

// Leaves out what is nested deeper than any prediction: writing a value takes stack for each level.
bool IsShallow(int depth, ReportJson::parse_event_t /*event*/, ReportJson& /*parsed*/) {
  constexpr int kDeepest = 4;
  return depth <= kDeepest;
}

std::string LabelText(const ReportJson& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, ReportJson::error_handler_t::replace);
}

// The score of the predicted label, which was wrong.
double ScoreOf(const ReportJson& line, const std::string& label) {
  if (!line.contains("scores") || !line["scores"].is_array()) return 0.0;
  for (const ReportJson& score : line["scores"]) {
    if (score.is_object() && score.value("label", ReportJson()) == label &&
        score.contains("score") && score["score"].is_number()) {
      return score["score"].get<double>();
    }
  }
  return 0.0;
}

ReportedPrediction PredictionOf(const ReportJson& line, const std::string& place) {
  const bool whole = line.is_object() && line.contains("gold") && line.contains("predicted") &&
                     line.contains("input") && line["input"].is_string();
  Check(whole, ErrorCode::kFormat,
        "{}: not a prediction; give a file that eval --predictions FILE.jsonl wrote", place);
  ReportedPrediction p;
  p.input = line["input"].get<std::string>();
  if (line.contains("id")) p.id = LabelText(line["id"]);
  for (const char* name : {"text", "text_pair"}) {
    if (!line.contains(name) || !line[name].is_string()) continue;
    p.text += (p.text.empty() ? "" : "\n") + line[name].get<std::string>();
  }
  p.gold = LabelText(line["gold"]);
  p.predicted = LabelText(line["predicted"]);
  p.classes = line["gold"].is_string() && line["predicted"].is_string();
  p.right = line.contains("right") && line["right"].is_boolean() && line["right"].get<bool>();
  if (line["gold"].is_number() && line["predicted"].is_number()) {
    p.wrong_by = std::abs(line["gold"].get<double>() - line["predicted"].get<double>());
  } else if (!p.right) {
    p.wrong_by = ScoreOf(line, p.predicted);
  }
  return p;
}

using Counts = std::map<std::pair<std::string, std::string>, idx_t>;

std::string MatrixTable(const std::set<std::string>& labels, const Counts& counts) {
  std::string text = "<table class=\"wide\">\n<tr><th>true class</th>";
  for (const std::string& label : labels) text += "<th>" + HtmlText(label) + "</th>";
  text += "</tr>\n";
  for (const std::string& gold : labels) {
    text += "<tr><th>" + HtmlText(gold) + "</th>";
    for (const std::string& predicted : labels) {
      const auto found = counts.find({gold, predicted});
      text += fmt::format("<td class=\"number{}\">{}</td>", gold == predicted ? " right" : "",
                          found == counts.end() ? 0 : found->second);
    }
    text += "</tr>\n";
  }
  return text + "</table>\n";
}

std::string PairsTable(const Counts& counts) {
  std::vector<std::pair<idx_t, std::pair<std::string, std::string>>> pairs;
  for (const auto& [pair, count] : counts) {
    if (pair.first != pair.second) pairs.emplace_back(count, pair);
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  pairs.resize(std::min(pairs.size(), kMostWorst));
  std::string text = "<table>\n<tr><th>true class</th><th>predicted</th><th>texts</th></tr>\n";
  for (const auto& [count, pair] : pairs) {
    text += fmt::format("<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td></tr>\n",
                        HtmlText(pair.first), HtmlText(pair.second), count);
  }
  return text + "</table>\n";
}

std::string Confusions(const std::vector<ReportedPrediction>& all) {
  std::set<std::string> labels;
  Counts counts;
  for (const ReportedPrediction& p : all) {
    if (!p.classes) return "";
    labels.insert({p.gold, p.predicted});
    ++counts[{p.gold, p.predicted}];
  }
  if (labels.size() > kMostMatrixLabels) {
    return "<h3>Classes that were taken for others</h3>\n" + PairsTable(counts);
  }
  return "<h3>Confusion matrix</h3>\n<p>A line for each true class, a column for each predicted "
         "one.</p>\n" +
         MatrixTable(labels, counts);
}

std::string Worst(const std::vector<ReportedPrediction>& all) {
  std::vector<const ReportedPrediction*> wrong;
  for (const ReportedPrediction& p : all) {
    if (!p.right && (p.wrong_by > 0.0 || p.gold != p.predicted)) wrong.push_back(&p);
  }
  if (wrong.empty()) return "";
  std::stable_sort(wrong.begin(), wrong.end(),
                   [](const auto* a, const auto* b) { return a->wrong_by > b->wrong_by; });
  wrong.resize(std::min(wrong.size(), kMostWorst));
  std::string text =
      "<h3>Worst examples</h3>\n<p>Wrong with the highest score, or farthest from the true "
      "number.</p>\n<table>\n<tr><th>place</th><th>id</th><th>true</th><th>predicted</th>"
      "<th>by</th><th>text</th></tr>\n";
  for (const ReportedPrediction* p : wrong) {
    text += fmt::format(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{:.4g}</td>"
        "<td class=\"said\">{}</td></tr>\n",
        HtmlText(p->input), HtmlText(p->id), HtmlText(p->gold), HtmlText(p->predicted), p->wrong_by,
        HtmlText(p->text));
  }
  return text + "</table>\n";
}

std::string PredictionsPart(const std::vector<ReportedPrediction>& all) {
  idx_t right = 0;
  for (const ReportedPrediction& p : all) right += p.right ? 1 : 0;
  return fmt::format("<h2>Predictions</h2>\n<p>{}, {} right.</p>\n", Counted(all.size(), "text"),
                     right) +
         Confusions(all) + Worst(all);
}

// ---- curves and figures -------------------------------------------------------------------------

// The metrics that are worth a picture, in this order: what evaluations have, then the course.
std::vector<std::string> Pictured(const RunLog& log) {
  const std::set<std::string> not_curves = {"tokens",    "tokens_per_s",  "seconds",
                                            "rss_bytes", "learning_rate", "grad_norm"};
  std::vector<std::string> metrics;
  for (const std::string& name : log.Metrics()) {
    const bool any = log.Find("train", name) != nullptr || log.Find("eval", name) != nullptr;
    if (any && !not_curves.contains(name)) metrics.push_back(name);
  }
  for (const char* name : {"learning_rate", "grad_norm"}) {
    if (log.Find("train", name) != nullptr) metrics.emplace_back(name);
  }
  return metrics;
}

std::string Curves(const RunLog& log) {
  std::string text = "<h2>Curves</h2>\n";
  for (const std::string& metric : Pictured(log)) {
    PlotOptions options;
    options.metric = metric;
    text += HtmlSvg(DrawChart(MakePlot({log}, options), PictureFormat::kSvg),
                    fmt::format("Curve of {}", metric));
  }
  return text;
}

std::string Evaluations(const RunLog& log) {
  const auto found = log.kinds.find("eval");
  if (found == log.kinds.end()) return "";
  const MetricTable& table = found->second;
  const std::size_t rows = table.step.size(), first = rows - std::min(rows, kMostEvaluations);
  std::string text = "<h2>Evaluations</h2>\n<table class=\"wide\">\n<tr><th>step</th>";
  for (const auto& [name, column] : table.columns) {
    if (name != "rss_bytes") text += "<th>" + HtmlText(name) + "</th>";
  }
  text += "</tr>\n";
  for (std::size_t row = first; row < rows; ++row) {
    text += fmt::format("<tr><td class=\"number\">{}</td>", table.step[row]);
    for (const auto& [name, column] : table.columns) {
      if (name == "rss_bytes") continue;
      text += std::isfinite(column[row])
                  ? fmt::format("<td class=\"number\">{:.6g}</td>", column[row])
                  : std::string("<td></td>");
    }
    text += "</tr>\n";
  }
  return text + "</table>\n";
}

std::string Summary(const RunLog& log) {
  double steps = 0.0, seconds = 0.0;
  for (const auto& [kind, table] : log.kinds) {
    steps = std::max(steps, table.step.back());
    const auto time = table.columns.find("seconds");
    if (time != table.columns.end() && std::isfinite(time->second.back())) {
      seconds = std::max(seconds, time->second.back());
    }
  }
  return fmt::format("<p>{} updates in {}.</p>\n", steps, DurationText(seconds));
}

std::string OptionsPart(const RunReport& report) {
  std::string text;
  if (!report.options.empty()) {
    text += "<h2>Options</h2>\n<table>\n<tr><th>option</th><th>value</th></tr>\n";
    for (const TomlEntry& entry : ParseToml(report.options, "run.toml")) {
      std::string values;
      for (const std::string& value : entry.values) values += (values.empty() ? "" : ", ") + value;
      text +=
          fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", HtmlText(entry.key), HtmlText(values));
    }
    text += "</table>\n";
  }
  if (!report.config.empty()) {
    text += "<h2>Configuration of the model</h2>\n<pre>" + HtmlText(report.config) + "</pre>\n";
  }
  return text;
}

}  // namespace

std::vector<ReportedPrediction> ReadPredictions(const std::filesystem::path& file) {
  const std::string text = io::ReadWholeFile(file, kMostPredictionBytes);
  std::vector<ReportedPrediction> all;
  std::string_view rest = text;
  for (idx_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const ReportJson line = ReportJson::parse(
        rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(end), IsShallow, false);
    all.push_back(
        PredictionOf(line, fmt::format("{}, line {}", io::EscapeName(file.string()), number)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  Check(!all.empty(), ErrorCode::kFormat, "{}: has no predictions", io::EscapeName(file.string()));
  return all;
}

std::string ReportHtml(const RunReport& report) {
  const std::string title = "Training run " + report.log.name;
  return HtmlHead(title, kReportStyle) + "<header>\n<h1>" + HtmlText(title) + "</h1>\n" +
         Summary(report.log) + "</header>\n" + Curves(report.log) + Evaluations(report.log) +
         (report.predictions ? PredictionsPart(*report.predictions) : "") + OptionsPart(report) +
         std::string(kHtmlEnd);
}

}  // namespace longspan::cli
