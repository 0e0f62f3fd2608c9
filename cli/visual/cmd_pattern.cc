#include "cli/visual/cmd_pattern.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/check.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"

namespace longspan::cli {
namespace {

// {"panels": [{"title", "note", "queries", "keys", "chunk", "visible_pairs", "visible": rows}]}
int PrintJson(const GridSheet& sheet) {
  nlohmann::ordered_json document = {{"panels", nlohmann::ordered_json::array()}};
  for (const GridPanel& panel : sheet.panels) {
    idx_t pairs = 0;
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (idx_t row = 0; row < panel.rows; ++row) {
      std::vector<int> cells;
      for (idx_t column = 0; column < panel.columns; ++column) {
        const auto i = static_cast<std::size_t>(row * panel.columns + column);
        cells.push_back(panel.weight[i] > 0 ? 1 : 0);
        pairs += cells.back();
      }
      rows.push_back(std::move(cells));
    }
    document["panels"].push_back({{"title", panel.title},
                                  {"note", panel.note},
                                  {"queries", panel.rows},
                                  {"keys", panel.columns},
                                  {"visible_pairs", pairs},
                                  {"visible", std::move(rows)}});
  }
  PrintResult(DumpJson(document, -1));
  return 0;
}

// Appends panels whose cells refer to `groups`; groups of the same name become one.
void Append(std::vector<GridPanel> panels, const std::vector<GridGroup>& groups, GridSheet* sheet) {
  std::vector<std::uint8_t> number;
  for (const GridGroup& group : groups) {
    const auto known = std::find_if(sheet->groups.begin(), sheet->groups.end(),
                                    [&](const GridGroup& g) { return g.name == group.name; });
    number.push_back(static_cast<std::uint8_t>(known - sheet->groups.begin()));
    if (known == sheet->groups.end()) sheet->groups.push_back(group);
  }
  for (GridPanel& panel : panels) {
    for (std::uint8_t& group : panel.group) group = number[group];
    sheet->panels.push_back(std::move(panel));
  }
}

// "Reformer's local attention: a chunk sees itself and its neighbours"
std::string TitleOf(const PatternKind& kind) {
  std::string title(kind.summary);
  if (title[0] >= 'a' && title[0] <= 'z') title[0] = static_cast<char>(title[0] - 'a' + 'A');
  return title;
}

// One panel of each mechanism, beside each other: full attention and what takes its place.
struct OverviewPanel {
  std::string_view kind;
  std::size_t panel;  // of the kind's gallery
  const char* title;
};
constexpr OverviewPanel kOverview[] = {{"full", 0, "Full attention"},
                                       {"chunked", 0, "Local chunks"},
                                       {"window", 2, "Sliding window, global tokens"},
                                       {"lsh", 3, "LSH buckets"}};

GridSheet Overview(const PatternCommand& command) {
  Check(command.given.empty(), ErrorCode::kUsage, "pattern: kind 'overview' has no option {}",
        command.given.empty() ? "" : command.given.front());
  Context context;
  GridSheet sheet;
  sheet.title = "Full attention, and what takes its place (causal: a token sees earlier ones only)";
  sheet.panels_across = std::size(kOverview);
  for (const OverviewPanel& each : kOverview) {
    const PatternKind& kind = FindPatternKind(each.kind);
    GridPanel panel = kind.gallery(context).at(each.panel);
    panel.title = each.title;
    Append({std::move(panel)}, kind.groups(), &sheet);
  }
  return sheet;
}

}  // namespace

GridSheet MakePatternSheet(const PatternCommand& command) {
  if (command.kind == kOverviewKind) return Overview(command);
  const bool gallery = command.given.empty();
  const std::string_view name = command.kind.empty() ? kUsualKind : std::string_view(command.kind);
  const PatternKind& kind = FindPatternKind(name);
  for (const std::string& option : command.given) {
    const auto known = std::find(kind.options.begin(), kind.options.end(), option);
    Check(known != kind.options.end(), ErrorCode::kUsage,
          "pattern: kind '{}' has no option {}; it has {}", kind.name, option,
          fmt::join(kind.options, " "));
  }
  Context context;
  GridSheet sheet;
  if (!gallery) {
    PatternOptions options = command.options;
    const auto causal = std::find(command.given.begin(), command.given.end(), "--causal");
    if (causal == command.given.end()) options.causal = kind.causal;
    Append(kind.panels(context, options), kind.groups(), &sheet);
    sheet.title = TitleOf(kind);
    return sheet;
  }
  const bool all = command.kind.empty();
  sheet.title = all ? "Which query sees which key" : TitleOf(kind);
  if (all) sheet.panels_across = 4;
  for (const PatternKind& each : PatternKinds()) {
    if (!all && each.name != kind.name) continue;
    std::vector<GridPanel> panels = each.gallery(context);
    if (all) panels.front().section = TitleOf(each);
    Append(std::move(panels), each.groups(), &sheet);
  }
  return sheet;
}

int RunPattern(const PatternCommand& command) {
  if (!command.output.empty()) FormatOf(command.output);  // a bad extension fails before the work
  const GridSheet sheet = MakePatternSheet(command);
  if (!command.output.empty()) {
    WritePicture(command.output, DrawGrid(sheet, FormatOf(command.output)));
  }
  if (command.json) return PrintJson(sheet);
  if (command.output.empty()) PrintResult(PrintGrid(sheet, DetectTerminal(STDOUT_FILENO)));
  return 0;
}

void RegisterPattern(CLI::App* pattern, const Globals& /*globals*/, Action& action) {
  auto command = std::make_shared<PatternCommand>();
  std::string kinds, summaries;
  for (const PatternKind& kind : PatternKinds()) {
    kinds += fmt::format("{}{}", kinds.empty() ? "" : ", ", kind.name);
    summaries += fmt::format("  {}: {}\n", kind.name, kind.summary);
  }
  summaries += fmt::format("  {}: full attention beside what takes its place\n", kOverviewKind);
  pattern->add_option("--kind", command->kind,
                      fmt::format("Mechanism: {}; or {}", kinds, kOverviewKind));
  PatternOptions& options = command->options;
  const std::vector<CLI::Option*> shape = {
      pattern->add_option("--tokens", options.tokens, "Length of the sequence in tokens"),
      pattern->add_option("--chunk", options.chunk, "Tokens of a chunk"),
      pattern->add_option("--before", options.before, "Chunks seen before the own one"),
      pattern->add_option("--after", options.after, "Chunks seen after the own one"),
      pattern->add_flag("--causal,!--no-causal", options.causal,
                        "Hide later keys (default except for window and longformer)"),
      pattern->add_flag("--shared", options.shared,
                        "Use queries as keys in full attention, as LSH layers do"),
      pattern->add_option("--rounds", options.rounds, "Hash rounds of lsh"),
      pattern->add_option("--buckets", options.buckets, "Buckets of a round of lsh"),
      pattern->add_option("--seed", options.seed, "Seed of the tokens and their hash in lsh"),
      pattern->add_option("--window", options.window,
                          "Keys seen on each side by window and longformer"),
      pattern->add_option("--dilation", options.dilation,
                          "Step from key to key (default: 1 for window, 2 for longformer)"),
      pattern->add_option("--globals", options.globals, "Number of first tokens that are global"),
      pattern->add_option("--global-at", options.global_at, "Places of further global tokens")
          ->delimiter(','),
      pattern->add_option("--pad-left", options.pad_left, "Tokens of padding at the beginning"),
      pattern->add_option("--pad-right", options.pad_right, "Tokens of padding at the end"),
  };
  for (CLI::Option* option : shape) {
    const bool list = option->get_delimiter() == ',';
    if (option->get_expected_min() > 0 && !list) option->capture_default_str();
  }
  pattern
      ->add_option("-o,--output", command->output,
                   "Picture to write, .svg or .png (default: draw in the terminal)")
      ->type_name("FILE");
  pattern->add_flag("--json", command->json, "Print the cells as JSON");
  pattern->footer(
      "Kinds:\n" + summaries +
      "Without an option for the shape: a sheet of examples.\n"
      "Examples:\n"
      "  longspan pattern -o patterns.svg\n"
      "  longspan pattern --kind chunked --tokens 64 --chunk 16 --before 2 --no-causal\n"
      "  longspan pattern --kind lsh --tokens 64 --rounds 4 -o buckets.svg\n"
      "  longspan pattern --kind window --window 6 --globals 2 --causal\n"
      "  longspan pattern --kind longformer -o longformer.svg");
  pattern->callback([command, shape, &action] {
    for (const CLI::Option* option : shape) {
      if (option->count() > 0) command->given.push_back("--" + option->get_lnames().front());
    }
    action = [command] { return RunPattern(*command); };
  });
}

}  // namespace longspan::cli
