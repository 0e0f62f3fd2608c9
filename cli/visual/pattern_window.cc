// Longformer's attention: windows, dilated ones, global tokens; and the sheet of its paper.

#include <fmt/format.h>

#include <algorithm>

#include "base/errors.h"
#include "cli/visual/pattern_kinds.h"

namespace longspan::cli {
namespace {

// Order of WindowGroups(); those before kInWindow are FullGroups().
enum WindowCell : std::uint8_t { kWindowItself = 0, kInWindow = 3, kThroughGlobal = 4 };

std::vector<GridGroup> WindowGroups() {
  std::vector<GridGroup> groups = FullGroups();
  groups.push_back({"in the window", Rgb(0x009e73), 'w'});
  groups.push_back({"a global token sees or is seen", Rgb(0xd55e00), 'G'});
  return groups;
}

GridPanel WindowPanel(Context& context, const PatternOptions& options) {
  const idx_t dilation = options.dilation.value_or(1);
  GridPanel panel = SquarePanel(options, WindowWeights(context, options));
  const std::vector<std::uint8_t> roles = WindowRoles(options);
  const auto globals = std::count(roles.begin(), roles.end(), kGlobalToken);
  panel.title = fmt::format("Sliding window{}{}{}", dilation > 1 ? ", dilated" : "",
                            globals > 0 ? " + global" : "", options.causal ? ", causal" : "");
  panel.note += fmt::format(", window {}", options.window);
  if (dilation > 1) panel.note += fmt::format(", dilation {}", dilation);
  if (globals > 0) panel.note += fmt::format(", {} global", globals);
  panel.note += PaddingNote(options);
  for (std::size_t i = 0; i < panel.group.size(); ++i) {
    const std::size_t query = i / roles.size(), key = i % roles.size();
    const bool global = roles[query] == kGlobalToken || roles[key] == kGlobalToken;
    panel.group[i] = query == key ? kWindowItself : global ? kThroughGlobal : kInWindow;
  }
  return panel;
}

std::vector<GridPanel> WindowPanels(Context& context, const PatternOptions& options) {
  return {WindowPanel(context, options)};
}

// What the paper's sheet does not show.
std::vector<GridPanel> WindowGallery(Context& context) {
  PatternOptions causal, dilated, global, padded;
  dilated.dilation = 3;
  global.globals = 2;
  padded = global;
  padded.causal = false;
  padded.pad_left = 5;
  padded.pad_right = 3;
  return {WindowPanel(context, causal), WindowPanel(context, dilated), WindowPanel(context, global),
          WindowPanel(context, padded)};
}

// Figure 2 of Beltagy, Peters, Cohan 2020. Each panel has of the options what its title names.
std::vector<GridPanel> LongformerPanels(Context& context, const PatternOptions& options) {
  PatternOptions window = options;
  window.dilation = 1;
  window.globals = 0;
  window.global_at.clear();
  PatternOptions dilated = window, global = window;
  dilated.dilation = options.dilation.value_or(2);
  global.globals = options.globals.value_or(0);
  global.global_at = options.global_at;
  if (!options.globals && options.global_at.empty()) {
    CheckPatternSize(options);
    const idx_t exist = options.tokens - options.pad_left - options.pad_right;
    for (idx_t third = 0; third < 3 && exist > 0; ++third) {
      global.global_at.push_back(options.pad_left + third * exist / 3);
    }
  }
  std::vector<GridPanel> panels = {FullPanel(context, window), WindowPanel(context, window),
                                   WindowPanel(context, dilated), WindowPanel(context, global)};
  const std::string_view causal = options.causal ? ", causal" : "";
  panels[0].title = fmt::format("(a) Full n^2 attention{}", causal);
  panels[1].title = fmt::format("(b) Sliding window attention{}", causal);
  panels[2].title = fmt::format("(c) Dilated sliding window{}", causal);
  panels[3].title = fmt::format("(d) Global + sliding window{}", causal);
  return panels;
}

std::vector<GridPanel> LongformerGallery(Context& context) {
  PatternOptions options;
  options.causal = false;
  return LongformerPanels(context, options);
}

void CheckWindowOptions(const PatternOptions& options) {
  CheckPatternSize(options);
  Check(options.window >= 0, ErrorCode::kUsage, "pattern: window {} is negative", options.window);
  Check(options.dilation.value_or(1) >= 1, ErrorCode::kUsage, "pattern: dilation {} is below 1",
        options.dilation.value_or(1));
}

}  // namespace

std::vector<std::uint8_t> WindowRoles(const PatternOptions& options) {
  CheckPatternSize(options);
  const idx_t exist = options.tokens - options.pad_left - options.pad_right;
  const idx_t globals = options.globals.value_or(0);
  Check(globals >= 0 && globals <= exist, ErrorCode::kUsage,
        "pattern: {} global tokens, can draw from 0 to {}, the tokens that are not padding",
        globals, exist);
  std::vector<std::uint8_t> roles;
  for (idx_t token = 0; token < options.tokens; ++token) {
    const bool global = token >= options.pad_left && token < options.pad_left + globals;
    roles.push_back(global ? kGlobalToken : IsPadding(options, token) ? kHiddenToken : kLocalToken);
  }
  for (const idx_t token : options.global_at) {
    Check(token >= 0 && token < options.tokens, ErrorCode::kUsage,
          "pattern: global token {}, tokens are numbered from 0 to {}", token, options.tokens - 1);
    Check(!IsPadding(options, token), ErrorCode::kUsage, "pattern: global token {} is padding",
          token);
    roles[static_cast<std::size_t>(token)] = kGlobalToken;
  }
  return roles;
}

std::vector<float> WindowWeights(Context& context, const PatternOptions& options) {
  CheckWindowOptions(options);
  PatternProblem problem(options);
  WindowSpec spec;
  spec.left = spec.right = options.window;
  spec.dilation = {options.dilation.value_or(1)};
  spec.causal = options.causal;
  const std::vector<std::uint8_t> numbers = WindowRoles(options);
  const TokenRoles roles(numbers.data(), {1, options.tokens});
  WindowForward(context, spec, {problem.Zeros(), problem.Zeros(), problem.Values()}, roles,
                {problem.Out(), problem.Row(problem.lse)});
  const idx_t globals = LargestGlobalCount(roles);
  if (globals > 0) {
    const View<const float, 4> queries(problem.zeros.data(), {1, 1, globals, options.tokens});
    GlobalForward(context, spec, {queries, problem.Zeros(), problem.Values()}, roles,
                  {problem.Out(), problem.Row(problem.lse)});
  }
  return problem.out;
}

namespace {

// Of both kinds.
PatternKind KindOfWindows(const char* name, const char* summary,
                          std::vector<GridPanel> (*panels)(Context&, const PatternOptions&),
                          std::vector<GridPanel> (*gallery)(Context&)) {
  return {name,
          summary,
          {"--tokens", "--pad-left", "--pad-right", "--causal", "--window", "--dilation",
           "--globals", "--global-at"},
          WindowGroups,
          panels,
          gallery,
          false};
}

}  // namespace

PatternKind WindowPattern() {
  return KindOfWindows("window",
                       "Longformer's attention: a window around each token, and global tokens",
                       WindowPanels, WindowGallery);
}

PatternKind LongformerPattern() {
  return KindOfWindows("longformer",
                       "figure 2 of Longformer's paper: full, window, dilated, global + window",
                       LongformerPanels, LongformerGallery);
}

}  // namespace longspan::cli
