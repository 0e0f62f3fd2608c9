// Longformer's attention: windows, dilated ones, global tokens; and the sheet of its paper.

#include <fmt/format.h>

#include <algorithm>

#include "cli/visual/pattern_kinds.h"
#include "longspan/attention.h"
#include "longspan/pattern.h"

namespace longspan::cli {
namespace {

// Order of WindowGroups(); those before kInWindow are PlainGroups().
enum WindowCell : std::uint8_t { kWindowItself = 0, kInWindow = 3, kThroughGlobal = 4 };

std::vector<GridGroup> WindowGroups() {
  std::vector<GridGroup> groups = PlainGroups();
  groups.push_back({"in the window", Rgb(0x009e73), 'w'});
  groups.push_back({"a global token sees or is seen", Rgb(0xd55e00), 'G'});
  return groups;
}

GridPanel WindowPanel(Context& context, const PatternOptions& options) {
  const idx_t dilation = options.dilation.value_or(1);
  GridPanel panel = SquarePanel(options, PatternWeights(context, "window", options));
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

}  // namespace

PatternDrawing WindowDrawing() {
  return {"window", WindowGroups, WindowPanels, WindowGallery, false};
}

PatternKind LongformerSheet() {
  PatternKind sheet;
  sheet.name = "longformer";
  sheet.summary = "figure 2 of Longformer's paper: full, window, dilated, global + window";
  sheet.options = CommonPatternOptions();
  for (const char* option : {"--window", "--dilation", "--globals", "--global-at"}) {
    sheet.options.push_back(option);
  }
  sheet.groups = WindowGroups;
  sheet.panels = LongformerPanels;
  sheet.gallery = LongformerGallery;
  sheet.causal = false;
  return sheet;
}

}  // namespace longspan::cli
