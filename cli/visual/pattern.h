// Pictures of which query sees which key: what the command `pattern` can draw.
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "cli/visual/grid.h"
#include "longspan/context.h"
#include "longspan/pattern.h"

namespace longspan::cli {

// What can be drawn: each mechanism of the catalogue, and after them sheets of several.
struct PatternKind {
  std::string_view name;                  // --kind
  std::string_view summary;               // for the help
  std::vector<std::string_view> options;  // the command line's options that it understands
  std::vector<GridGroup> (*groups)();     // that its panels' cells refer to
  std::function<std::vector<GridPanel>(Context& context, const PatternOptions& options)> panels;
  std::function<std::vector<GridPanel>(Context&)> gallery;  // worth seeing without any option
  bool causal = true;  // unless the command line says otherwise
};
// Mechanisms by name, then sheets.
std::span<const PatternKind> PatternKinds();

// Options for a shape without --kind mean this one.
inline constexpr std::string_view kUsualKind = "chunked";

// Not a mechanism of its own: one panel of each, beside each other.
inline constexpr std::string_view kOverviewKind = "overview";

// Throws kUsage and lists the kinds when there is none of that name.
const PatternKind& FindPatternKind(std::string_view name);

}  // namespace longspan::cli
