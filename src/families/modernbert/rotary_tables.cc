#include "families/modernbert/rotary_tables.h"

#include <algorithm>

#include "model/documents.h"

namespace longspan {

RotaryTables::Plan RotaryTables::PlanOf(const RotarySpec& spec, const VisibleBatch& texts) {
  Plan plan;
  plan.spec = spec;
  std::vector<std::pair<idx_t, std::size_t>> parts_of;  // length of each text, and its part
  ForEachText(texts.view(), [&](idx_t, idx_t, idx_t tokens) {
    const idx_t length = RotaryLength(spec, tokens);
    auto part = std::find_if(plan.parts.begin(), plan.parts.end(),
                             [&](const Part& known) { return known.length == length; });
    if (part == plan.parts.end()) part = plan.parts.insert(part, Part{length});
    part->rows = std::max(part->rows, tokens);
    parts_of.emplace_back(tokens, part - plan.parts.begin());
  });
  for (Part& part : plan.parts) {
    part.begin = plan.rows;
    plan.rows += part.rows;
  }
  if (plan.parts.size() < 2) return plan;
  const std::span<const std::int32_t> own = texts.positions();
  plan.positions.assign(own.begin(), own.end());
  std::size_t token = 0;
  for (const auto& [tokens, part] : parts_of) {
    const auto begin = static_cast<std::int32_t>(plan.parts[part].begin);
    for (idx_t t = 0; t < tokens; ++t) plan.positions[token++] += begin;
  }
  return plan;
}

RotaryTurn RotaryTables::Fill(Context& context, const VisibleBatch& texts, const Plan& plan,
                              idx_t half) {
  const RotaryTableOf<float> table{{frame_.Take<float>(plan.rows * half), {plan.rows, half}},
                                   {frame_.Take<float>(plan.rows * half), {plan.rows, half}}};
  for (const Part& part : plan.parts) {
    const auto rows = [&](const View<float, 2>& all) {
      return View<float, 2>{all.data + part.begin * half, {part.rows, half}};
    };
    FillRotaryTable(context, plan.spec, part.length, {rows(table.cos), rows(table.sin)});
  }
  return {{table.cos, table.sin}, plan.positions.empty() ? texts.positions() : plan.positions};
}

RotaryTables::RotaryTables(Context& context, const ModernBertConfig& config,
                           const VisibleBatch& texts)
    : RotaryTables(context, texts, PlanOf(config.rotary(true), texts),
                   PlanOf(config.rotary(false), texts), config.head_size() / 2) {}

RotaryTables::RotaryTables(Context& context, const VisibleBatch& texts, Plan full, Plan window,
                           idx_t half)
    : full_plan_(std::move(full)),
      window_plan_(std::move(window)),
      frame_(context.arena(), 2 * Arena::Bytes<float>(full_plan_.rows * half) +
                                  (full_plan_.spec == window_plan_.spec
                                       ? 0
                                       : 2 * Arena::Bytes<float>(window_plan_.rows * half))) {
  full_ = window_ = Fill(context, texts, full_plan_, half);
  if (full_plan_.spec != window_plan_.spec) window_ = Fill(context, texts, window_plan_, half);
}

}  // namespace longspan
