// Full attention: the square that the others avoid.

#include <fmt/format.h>

#include "cli/visual/pattern_kinds.h"

namespace longspan::cli {
namespace {

// Order of FullGroups().
enum FullCell : std::uint8_t { kFullItself, kFullOther, kFullUnguided };

}  // namespace

std::vector<GridGroup> FullGroups() {
  return {{"the token itself", Rgb(0x0b2f4f), '#'},
          {"another token", Rgb(0x56b4e9), 'o'},
          {"no key is allowed: all of them, equally", Rgb(0x7a828f), 'x'}};
}

GridPanel FullPanel(Context& context, const PatternOptions& options) {
  GridPanel panel = SquarePanel(options, FullWeights(context, options));
  panel.title = fmt::format("{}{}", options.causal ? "Causal" : "Bidirectional",
                            options.shared ? ", queries are keys" : "");
  if (options.shared) panel.note += ": nobody sees itself unless alone";
  for (idx_t query = 0; query < options.tokens; ++query) {
    const auto row = static_cast<std::size_t>(query * options.tokens);
    bool unguided = false;
    for (idx_t key = 0; key < options.tokens; ++key) {
      const bool itself = options.shared && key == query;
      const bool allowed = !IsPadding(options, key) && !(options.causal && key > query);
      unguided |= panel.weight[row + static_cast<std::size_t>(key)] != 0 && !allowed && !itself;
    }
    for (idx_t key = 0; key < options.tokens; ++key) {
      panel.group[row + static_cast<std::size_t>(key)] =
          unguided ? kFullUnguided : (query == key ? kFullItself : kFullOther);
    }
  }
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

std::vector<float> FullWeights(Context& context, const PatternOptions& options) {
  PatternProblem problem(options);
  FullSpec spec;
  spec.causal = options.causal;
  if (options.shared) {
    FullSharedForward(context, spec, {problem.Zeros(), problem.Values()}, problem.Mask(),
                      {problem.Out(), problem.Row(problem.max), problem.Row(problem.sum)});
  } else {
    FullForward(context, spec, {problem.Zeros(), problem.Zeros(), problem.Values()}, problem.Mask(),
                {problem.Out(), problem.Row(problem.lse)});
  }
  return problem.out;
}

PatternKind FullPattern() {
  return {"full",
          "full attention: every token sees every other",
          {"--tokens", "--pad-left", "--pad-right", "--causal", "--shared"},
          FullGroups,
          FullPanels,
          FullGallery};
}

}  // namespace longspan::cli
