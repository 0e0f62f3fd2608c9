#include "cli/visual/pattern.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "cli/check.h"
#include "cli/visual/pattern_kinds.h"
#include "longspan/pattern.h"

namespace longspan::cli {
namespace {

// The mechanism's own drawing, or plain cells.
PatternKind KindOf(const MechanismInfo& mechanism) {
  PatternKind kind;
  kind.name = mechanism.name;
  kind.summary = mechanism.summary;
  kind.options = CommonPatternOptions();
  kind.options.insert(kind.options.end(), mechanism.options.begin(), mechanism.options.end());
  for (const PatternDrawing& drawing :
       {ChunkedDrawing(), FullDrawing(), LshDrawing(), WindowDrawing()}) {
    if (drawing.mechanism != mechanism.name) continue;
    kind.groups = drawing.groups;
    kind.panels = drawing.panels;
    kind.gallery = drawing.gallery;
    kind.causal = drawing.causal;
    return kind;
  }
  const auto panel = [name = mechanism.name](Context& context, const PatternOptions& options) {
    return PlainPanel(options, PatternWeights(context, name, options));
  };
  kind.groups = PlainGroups;
  kind.panels = [panel](Context& context, const PatternOptions& options) {
    return std::vector<GridPanel>{panel(context, options)};
  };
  kind.gallery = [panel](Context& context) {
    PatternOptions causal, both;
    both.causal = false;
    return std::vector<GridPanel>{panel(context, causal), panel(context, both)};
  };
  return kind;
}

std::vector<PatternKind> MakePatternKinds() {
  std::vector<PatternKind> kinds;
  // Their names and options live as long as the kinds do.
  static const std::vector<MechanismInfo> mechanisms = ListMechanisms();
  for (const MechanismInfo& mechanism : mechanisms) kinds.push_back(KindOf(mechanism));
  std::sort(kinds.begin(), kinds.end(),
            [](const PatternKind& a, const PatternKind& b) { return a.name < b.name; });
  kinds.push_back(LongformerSheet());
  return kinds;
}

}  // namespace

std::span<const PatternKind> PatternKinds() {
  static const std::vector<PatternKind> kinds = MakePatternKinds();
  return kinds;
}

const PatternKind& FindPatternKind(std::string_view name) {
  std::vector<std::string_view> names;
  for (const PatternKind& kind : PatternKinds()) {
    if (kind.name == name) return kind;
    names.push_back(kind.name);
  }
  names.push_back(kOverviewKind);
  Fail(ErrorCode::kUsage, "pattern: no kind '{}'; there are: {}", name, fmt::join(names, ", "));
}

std::vector<std::string_view> CommonPatternOptions() {
  return {"--tokens", "--pad-left", "--pad-right", "--causal"};
}

std::string PaddingNote(const PatternOptions& options) {
  if (options.pad_left + options.pad_right == 0) return {};
  return fmt::format(", padding {} + {}", options.pad_left, options.pad_right);
}

GridPanel SquarePanel(const PatternOptions& options, std::vector<float> weights) {
  const idx_t tokens = options.tokens;
  GridPanel panel;
  panel.note = fmt::format("{} tokens", tokens);
  panel.rows = panel.columns = tokens;
  panel.weight = std::move(weights);
  for (float& weight : panel.weight) weight = weight != 0 ? 1.0f : 0.0f;
  panel.group.assign(panel.weight.size(), 0);
  for (idx_t key = 0; key < tokens; ++key) {
    panel.shaded.push_back(IsPadding(options, key) ? 1 : 0);
  }
  return panel;
}

// ---- plain cells --------------------------------------------------------------------------------

namespace {

// Order of PlainGroups().
enum PlainCell : std::uint8_t { kPlainItself, kPlainOther, kPlainUnguided };

}  // namespace

std::vector<GridGroup> PlainGroups() {
  return {{"the token itself", Rgb(0x0b2f4f), '#'},
          {"another token", Rgb(0x8aa0b8), 'o'},
          {"no key is allowed: all of them, equally", Rgb(0x7a828f), 'x'}};
}

GridPanel PlainPanel(const PatternOptions& options, std::vector<float> weights) {
  GridPanel panel = SquarePanel(options, std::move(weights));
  panel.title = options.causal ? "Causal" : "Bidirectional";
  for (idx_t query = 0; query < options.tokens; ++query) {
    const auto row = static_cast<std::size_t>(query * options.tokens);
    bool unguided = false;  // the kernel weighs a key that nothing allows: the row had none
    for (idx_t key = 0; key < options.tokens; ++key) {
      const bool itself = options.shared && key == query;
      const bool allowed = !IsPadding(options, key) && !(options.causal && key > query);
      unguided |= panel.weight[row + static_cast<std::size_t>(key)] != 0 && !allowed && !itself;
    }
    for (idx_t key = 0; key < options.tokens; ++key) {
      panel.group[row + static_cast<std::size_t>(key)] =
          unguided ? kPlainUnguided : (query == key ? kPlainItself : kPlainOther);
    }
  }
  return panel;
}

}  // namespace longspan::cli
