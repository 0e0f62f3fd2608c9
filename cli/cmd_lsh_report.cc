// longspan lsh-report: whether hashing finds the keys that matter.

#include <charconv>
#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/text_inputs.h"
#include "cli/visual/chart.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/text.h"
#include "cli/waiting.h"
#include "longspan/counted.h"
#include "longspan/inspect.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

struct LshReportCommand {
  std::string model, text, attention, rounds = "1,2,4,8", output;
  WindowOptions windows;
  LshRecallOptions options;
  bool json = false;
};

// "1,2,4" as numbers; what they must be is LshRecall's business.
std::vector<idx_t> RoundsOf(const std::string& list) {
  std::vector<idx_t> rounds;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (true) {
    idx_t number = 0;
    const auto [stop, error] = std::from_chars(at, end, number);
    Check(error == std::errc() && (stop == end || *stop == ','), ErrorCode::kUsage,
          "rounds: '{}' is not a list of numbers such as 1,2,4,8", Printable(list));
    rounds.push_back(number);
    if (stop == end) return rounds;
    at = stop + 1;
  }
}

LshReport Measure(const LshReportCommand& c, int threads) {
  Context context(threads);
  ReformerOptions reformer;
  reformer.attention = ParseAttention(c.attention);
  LshRecallOptions options = c.options;
  options.rounds = RoundsOf(c.rounds);
  WindowOptions windows = c.windows;
  windows.text = c.text;
  Waiting measuring("measuring " + c.model);
  const LshReport report = ReportLsh(context, c.model, windows, options, reformer);
  measuring.End();
  TellNotes(report.notes);
  return report;
}

// ---- JSON ---------------------------------------------------------------------------------------

ordered_json SpreadJson(const Spread& spread) {
  return {{"mean", spread.mean}, {"tenth", spread.tenth}};
}

ordered_json RecallJson(const MassRecall& recall) {
  ordered_json j = {
      {"rows", recall.rows}, {"top", ordered_json::array()}, {"rounds", ordered_json::array()}};
  for (std::size_t i = 0; i < kTopKeys.size(); ++i) {
    ordered_json top = {{"keys", kTopKeys[i]}};
    top.update(SpreadJson(recall.top[i]));
    j["top"].push_back(std::move(top));
  }
  for (const RoundRecall& r : recall.rounds) {
    j["rounds"].push_back({{"rounds", r.rounds},
                           {"seen", SpreadJson(r.seen)},
                           {"local", SpreadJson(r.local)},
                           {"random", SpreadJson(r.random)},
                           {"best", SpreadJson(r.best)},
                           {"keys", r.seen_keys},
                           {"random_keys", r.random_keys}});
  }
  return j;
}

ordered_json ReportJson(const LshReportCommand& c, const LshReport& report) {
  ordered_json j = {{"text_bytes", report.text_bytes},
                    {"windows", report.windows},
                    {"tokens", report.tokens},
                    {"rows_a_window", report.rows},
                    {"seed", c.options.seed},
                    {"heads", report.heads},
                    {"causal", report.causal},
                    {"attention", report.attention},
                    {"model_rounds", report.model_rounds},
                    {"chunk", report.chunk},
                    {"before", report.before},
                    {"after", report.after},
                    {"buckets", report.buckets},
                    {"layers", ordered_json::array()}};
  for (const LayerRecall& layer : report.layers) {
    ordered_json entry = {{"layer", layer.layer}};
    entry.update(RecallJson(layer.all));
    entry["heads"] = ordered_json::array();
    for (const MassRecall& head : layer.heads) entry["heads"].push_back(RecallJson(head));
    j["layers"].push_back(std::move(entry));
  }
  return j;
}

// ---- table --------------------------------------------------------------------------------------

std::string Line(const std::string& name, const std::vector<std::string>& cells) {
  std::string line = fmt::format("{:<18}", name);
  for (const std::string& cell : cells) line += cell;
  return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

// Cells of 15 columns: a heading, the mean with the tenth percentile, the mean alone, a number.
std::string Heading(const std::string& text) { return fmt::format("{:>14} ", text); }
std::string Cell(const Spread& s) {
  return fmt::format("{:>8.1f} {:<6}", 100.0 * s.mean, fmt::format("({:.0f})", 100.0 * s.tenth));
}
std::string Mean(const Spread& s) { return fmt::format("{:>8.1f}{:7}", 100.0 * s.mean, ""); }
std::string NumberCell(double number) { return fmt::format("{:>6.0f}{:9}", number, ""); }

std::string TopTable(const LshReport& report) {
  std::vector<std::string> cells;
  for (const idx_t keys : kTopKeys) cells.push_back(Heading(fmt::format("top {}", keys)));
  std::string text = Line("heaviest keys", cells);
  for (const LayerRecall& layer : report.layers) {
    cells.clear();
    for (const Spread& top : layer.all.top) cells.push_back(Cell(top));
    text += Line(fmt::format("layer {}", layer.layer), cells);
  }
  return text;
}

std::string RoundTable(const LshReport& report) {
  std::vector<std::string> cells;
  for (const RoundRecall& r : report.layers.front().all.rounds) {
    cells.push_back(Heading(Counted(r.rounds, "round")));
  }
  std::string text = Line("seen by hashing", cells);
  for (const LayerRecall& layer : report.layers) {
    const auto line = [&](const std::string& name, const auto& cell) {
      cells.clear();
      for (const RoundRecall& r : layer.all.rounds) cells.push_back(cell(r));
      text += Line(name, cells);
    };
    line(fmt::format("layer {}", layer.layer), [](const RoundRecall& r) { return Cell(r.seen); });
    line("  best possible", [](const RoundRecall& r) { return Mean(r.best); });
    line("  nearest keys", [](const RoundRecall& r) { return Mean(r.local); });
    line("  random buckets", [](const RoundRecall& r) { return Mean(r.random); });
    line("  keys of a row", [](const RoundRecall& r) { return NumberCell(r.seen_keys); });
  }
  return text;
}

// What the least hashing finds, as a sentence for each layer.
std::string Conclusions(const LshReport& report) {
  std::string text;
  for (const LayerRecall& layer : report.layers) {
    const RoundRecall& least = layer.all.rounds.front();
    text += fmt::format(
        "layer {}: {} of hashing shows a row {:.0f} keys, which hold {:.0f} % of its softmax.\n"
        "  The best {:.0f} keys hold {:.0f} %, as many of random buckets {:.0f} %.\n",
        layer.layer, Counted(least.rounds, "round"), least.seen_keys, 100.0 * least.seen.mean,
        least.seen_keys, 100.0 * least.best.mean, 100.0 * least.random.mean);
  }
  return text;
}

std::string ReportText(const LshReport& report) {
  std::string text = fmt::format(
      "Share of a row's softmax over all keys, in per cent: mean over rows and heads, in brackets\n"
      "what nine rows in ten exceed. {} of {} tokens, {} rows of each, {} heads, {}.\n\n",
      Counted(report.windows, "window"), report.tokens, report.rows, report.heads,
      report.causal ? "causal\n(row 0 sees only itself and is left out)" : "both directions");
  text += TopTable(report) + "\n" + RoundTable(report);
  return text +
         "\nBelow each layer: what as many keys hold as hashing sees, if they are the best "
         "possible "
         "or\nthe nearest ones; what buckets dealt by chance see; how many keys hashing shows to a "
         "row.\nLayers count from 0; those that are not listed are local.\n\n" +
         Conclusions(report);
}

// ---- chart --------------------------------------------------------------------------------------

// The mean over layers of one quantity, against the rounds.
Series Yardstick(const LshReport& report, const std::string& name, idx_t color,
                 Spread RoundRecall::*quantity) {
  Series series;
  series.name = name;
  series.color = color;
  series.dashed = true;
  const auto layers = static_cast<double>(report.layers.size());
  for (std::size_t i = 0; i < report.layers.front().all.rounds.size(); ++i) {
    double sum = 0.0;
    for (const LayerRecall& layer : report.layers) sum += (layer.all.rounds[i].*quantity).mean;
    series.x.push_back(static_cast<double>(report.layers.front().all.rounds[i].rounds));
    series.y.push_back(100.0 * sum / layers);
  }
  return series;
}

Chart MakeChart(const LshReport& report) {
  Chart chart;
  chart.title = "Softmax mass that hashing sees";
  chart.note = fmt::format(
      "{} of {} tokens; dashed lines: what the best possible keys, the nearest keys and random "
      "buckets hold",
      Counted(report.windows, "window"), report.tokens);
  chart.x = {"rounds of hashing", true};
  chart.y = {"share of the softmax over all keys (%)", false};
  chart.from_zero = true;
  const auto lines = static_cast<idx_t>(report.layers.size());
  chart.series = {Yardstick(report, "best possible", lines, &RoundRecall::best),
                  Yardstick(report, "nearest keys", lines + 1, &RoundRecall::local),
                  Yardstick(report, "random buckets", lines + 2, &RoundRecall::random)};
  for (const LayerRecall& layer : report.layers) {
    Series series;
    series.name = fmt::format("layer {}", layer.layer);
    series.color = static_cast<idx_t>(chart.series.size()) - 3;
    series.marked = true;
    for (const RoundRecall& r : layer.all.rounds) {
      series.x.push_back(static_cast<double>(r.rounds));
      series.y.push_back(100.0 * r.seen.mean);
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

int RunLshReport(const LshReportCommand& c, int threads) {
  if (!c.output.empty()) {  // what is wrong with it fails before the work
    FormatOf(c.output);
    CheckIsNoInputOf({c.text}, c.model, c.output);
  }
  const LshReport report = Measure(c, threads);
  if (!c.output.empty()) {
    WritePicture(c.output, DrawChart(MakeChart(report), FormatOf(c.output)));
  }
  PrintResult(c.json ? DumpJson(ReportJson(c, report), 1) : ReportText(report));
  return 0;
}

}  // namespace

void RegisterLshReport(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<LshReportCommand>();
  BeginGroup(command, heading::kModel);
  command->add_option("-m,--model", c->model, "Folder of a Reformer language model")->required();
  command->add_option("FILE", c->text, "Text, table, JSON or folder of them")->required();
  AddReadOptions(command, &c->windows.data);
  BeginGroup(command, "Measurement");
  command->add_option("--held-out", c->windows.held_out, "Share of the text's end that is measured")
      ->capture_default_str();
  command
      ->add_option("--tokens", c->windows.tokens,
                   "Length of a window in tokens (default: what model and text have, at most 4096)")
      ->check(CLI::Range(1, 1 << 30).description(""));
  command
      ->add_option("--windows", c->windows.windows,
                   "Number of windows, spread over the text, or as many as fit")
      ->check(CLI::Range(1, 1 << 20).description(""))
      ->capture_default_str();
  command->add_option("--rounds", c->rounds, "Numbers of hash rounds to compare")
      ->type_name("N,N")
      ->capture_default_str();
  command->add_option("--rows", c->options.rows, "Number of rows of each window that are measured")
      ->check(CLI::Range(1, 1 << 30).description(""))
      ->capture_default_str();
  command->add_option("--seed", c->options.seed, "Seed of the rows and of the random buckets")
      ->capture_default_str();
  command->add_option(
      "--attention", c->attention,
      "Attention of the model that is measured: full, local or lsh (default: the config's)");
  BeginGroup(command, heading::kOutput);
  command->add_option("-o,--output", c->output, "Picture to write, .svg or .png")
      ->type_name("FILE");
  command->add_flag("--json", c->json, "Print one JSON document, with every head");
  command->footer(
      "Examples:\n  longspan lsh-report -m run book.txt --held-out 0.1 --tokens 256\n"
      "  longspan lsh-report -m run book.txt --tokens 256 --rounds 1,4 -o recall.svg");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunLshReport(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
