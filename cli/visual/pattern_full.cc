// Full attention: the square that the others avoid.

#include <fmt/format.h>

#include "cli/visual/pattern_kinds.h"
#include "longspan/pattern.h"

namespace longspan::cli {

GridPanel FullPanel(Context& context, const PatternOptions& options) {
  GridPanel panel = PlainPanel(options, PatternWeights(context, "full", options));
  if (!options.shared) return panel;
  panel.title += ", queries are keys";
  panel.note += ": nobody sees itself unless alone";
  return panel;
}

namespace {

std::vector<GridPanel> FullPanels(Context& context, const PatternOptions& options) {
  return {FullPanel(context, options)};
}

std::vector<GridPanel> FullGallery(Context& context) {
  PatternOptions causal, shared;
  shared.shared = true;
  std::vector<GridPanel> panels = {FullPanel(context, causal), FullPanel(context, shared)};
  panels[0].title = "Full attention, causal";
  panels[1].title = "Full attention, queries are keys";
  return panels;
}

}  // namespace

PatternDrawing FullDrawing() { return {"full", PlainGroups, FullPanels, FullGallery}; }

}  // namespace longspan::cli
