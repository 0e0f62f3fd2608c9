// How mechanisms are drawn, one file each where there is more to show than cells, and what these
// files share.
#pragma once

#include <string>
#include <vector>

#include "cli/visual/pattern.h"

namespace longspan::cli {

// The drawing of one mechanism of the catalogue.
struct PatternDrawing {
  std::string_view mechanism;
  std::vector<GridGroup> (*groups)();
  std::vector<GridPanel> (*panels)(Context& context, const PatternOptions& options);
  std::vector<GridPanel> (*gallery)(Context& context);
  bool causal = true;  // unless the command line says otherwise
};
PatternDrawing ChunkedDrawing();
PatternDrawing FullDrawing();
PatternDrawing LshDrawing();
PatternDrawing WindowDrawing();

// A sheet of several mechanisms.
PatternKind LongformerSheet();

// Groups of cells for mechanisms without a drawing of their own; others' may begin with these.
std::vector<GridGroup> PlainGroups();
// A panel of (T, T) weights in these groups.
GridPanel PlainPanel(const PatternOptions& options, std::vector<float> weights);

// Full attention is a panel of Longformer's sheet too.
GridPanel FullPanel(Context& context, const PatternOptions& options);

// Options that every mechanism's picture understands.
std::vector<std::string_view> CommonPatternOptions();

// ", padding 5 + 3" for a panel's note; empty without padding.
std::string PaddingNote(const PatternOptions& options);

// A panel of tokens x tokens cells whose padding is shaded: visible where weights are not 0.
GridPanel SquarePanel(const PatternOptions& options, std::vector<float> weights);

}  // namespace longspan::cli
