#include "cli/visual/pattern.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/errors.h"
#include "cli/visual/pattern_kinds.h"

namespace longspan::cli {
namespace {

constexpr idx_t kMostTokens = 2048;  // cells are tokens^2, and so is the identity of values

}  // namespace

std::span<const PatternKind> PatternKinds() {
  static const std::vector<PatternKind> kinds = {ChunkedPattern(), FullPattern(), LshPatternKind(),
                                                 WindowPattern(), LongformerPattern()};
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

bool IsPadding(const PatternOptions& options, idx_t key) {
  return key < options.pad_left || key >= options.tokens - options.pad_right;
}

std::string PaddingNote(const PatternOptions& options) {
  if (options.pad_left + options.pad_right == 0) return {};
  return fmt::format(", padding {} + {}", options.pad_left, options.pad_right);
}

void CheckPatternSize(const PatternOptions& options) {
  Check(options.tokens >= 1 && options.tokens <= kMostTokens, ErrorCode::kUsage,
        "pattern: {} tokens, can draw from 1 to {}", options.tokens, kMostTokens);
  Check(options.pad_left >= 0 && options.pad_right >= 0 &&
            options.pad_left + options.pad_right <= options.tokens,
        ErrorCode::kUsage, "pattern: padding of {} and {} does not fit into {} tokens",
        options.pad_left, options.pad_right, options.tokens);
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

PatternProblem::PatternProblem(const PatternOptions& options)
    : shape{1, 1, options.tokens, options.tokens},
      padded(options.pad_left + options.pad_right > 0) {
  CheckPatternSize(options);
  const auto tokens = static_cast<std::size_t>(options.tokens);
  for (auto* square : {&zeros, &values, &out}) square->resize(tokens * tokens);
  for (auto* row : {&lse, &max, &sum}) row->resize(tokens);
  for (std::size_t token = 0; token < tokens; ++token) {
    values[token * tokens + token] = 1;
    exists.push_back(IsPadding(options, static_cast<idx_t>(token)) ? 0 : 1);
  }
}

KeyMask PatternProblem::Mask() const {
  return padded ? KeyMask(exists.data(), {1, shape[2]}) : KeyMask();
}

}  // namespace longspan::cli
