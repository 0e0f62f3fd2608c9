#include "ops/window_attention/setup.h"

#include <algorithm>
#include <cmath>

#include "base/scratch_layout.h"

namespace longspan {

namespace {

// Head sizes from which fewer keys are packed at a time.
constexpr idx_t kLargeHead = 96, kHugeHead = 160;

}  // namespace

template <class T>
void CheckWindowCall(const WindowSpec& spec, const std::array<idx_t, 4>& shape, const char* name,
                     const TokenRoles& roles, const AttentionSavedOf<T>& saved) {
  CheckWindow.Extents(name, shape);
  CheckWindow.Outputs(saved, shape);
  CheckWindow.Tokens(roles, "the roles", shape);
  CheckWindow.Scale(spec.scale);
  CheckWindow.Dropout(spec.dropout);
  CheckWindow.Texts(spec.starts, shape);
  Check(spec.left >= 0, ErrorCode::kUsage, "window attention: left {} is negative", spec.left);
  Check(spec.right >= 0, ErrorCode::kUsage, "window attention: right {} is negative", spec.right);
  Check(spec.dilation.empty() || static_cast<idx_t>(spec.dilation.size()) == shape[1],
        ErrorCode::kUsage, "window attention: {} dilations for {} heads", spec.dilation.size(),
        shape[1]);
  for (const idx_t dilation : spec.dilation) {
    Check(dilation >= 1, ErrorCode::kUsage, "window attention: dilation {} is below 1", dilation);
  }
}

template void CheckWindowCall(const WindowSpec&, const std::array<idx_t, 4>&, const char*,
                              const TokenRoles&, const AttentionSavedOf<float>&);
template void CheckWindowCall(const WindowSpec&, const std::array<idx_t, 4>&, const char*,
                              const TokenRoles&, const AttentionSavedOf<bfloat16>&);

GlobalTokens FindGlobalTokens(const TokenRoles& roles, idx_t rows, TextStarts starts) {
  GlobalTokens globals;
  globals.first.push_back(0);
  const auto find = [&](idx_t b, idx_t begin, idx_t end) {
    for (idx_t t = begin; t < end; ++t) {
      if (roles(b, t) == kGlobalToken) globals.positions.push_back(t - begin);
    }
    globals.first.push_back(static_cast<idx_t>(globals.positions.size()));
    globals.most = std::max(globals.most, *(globals.first.end() - 1) - *(globals.first.end() - 2));
  };
  const idx_t tokens = roles.empty() ? 0 : roles.extent[1];
  const auto within = [&](idx_t t) { return std::min(t, tokens); };
  for (std::size_t d = 1; d < starts.size(); ++d) find(0, within(starts[d - 1]), within(starts[d]));
  for (idx_t b = 0; starts.empty() && b < rows; ++b) find(b, 0, tokens);
  return globals;
}

GlobalTokens GlobalTokensOf(const WindowSpec& spec, const TokenRoles& roles, idx_t batch) {
  if (spec.globals == nullptr) return FindGlobalTokens(roles, batch, spec.starts);
  const GlobalTokens& given = *spec.globals;
  const std::size_t lists =
      spec.starts.empty() ? static_cast<std::size_t>(batch) + 1 : spec.starts.size();
  Check(given.first.size() == lists, ErrorCode::kUsage,
        "window attention: global tokens of {} {} are given for {}",
        given.first.empty() ? 0 : given.first.size() - 1, spec.starts.empty() ? "rows" : "texts",
        lists - 1);
  return given;
}

GlobalTokens GlobalTokensOfText(const GlobalTokens& row, idx_t text) {
  const idx_t count = row.Count(text);
  return {count, {row.List(text), row.List(text) + count}, {0, count}};
}

idx_t LargestGlobalCount(const TokenRoles& roles) {
  idx_t most = 0;
  for (idx_t b = 0; !roles.empty() && b < roles.extent[0]; ++b) {
    idx_t count = 0;
    for (idx_t t = 0; t < roles.extent[1]; ++t) count += roles(b, t) == kGlobalToken ? 1 : 0;
    most = std::max(most, count);
  }
  return most;
}

BlockPlan MakeBlockPlan(const WindowSpec& spec, idx_t tokens, idx_t head_size) {
  BlockPlan plan;
  plan.D = head_size;
  plan.scale = spec.scale != 0.0f ? spec.scale : 1.0f / std::sqrt(static_cast<float>(head_size));
  plan.dropout = {spec.dropout.p, spec.dropout.key};
  plan.slots = spec.Slots(tokens);
  plan.row = RoundUp(head_size, BlockPlan::kRowUnit);
  plan.wide = RoundUp(head_size, BlockPlan::kPanelUnit);
  return plan;
}

idx_t ScoreStride(idx_t columns) {
  return (RoundUp(columns, BlockPlan::kRowUnit) / BlockPlan::kRowUnit | 1) * BlockPlan::kRowUnit;
}

idx_t BlockKeys(idx_t head_size) {
  if (head_size <= kLargeHead) return 192;
  return head_size <= kHugeHead ? 128 : 64;
}

namespace {

template <class Take>
void EachRowArray(const BlockPlan& plan, idx_t rows, idx_t ring, bool backward, RowScratch& s,
                  const Take& take) {
  take(s.queries, rows * plan.row);
  take(s.output, rows * plan.row);
  take(s.scores, plan.rows * plan.score_stride);
  take(s.max, rows);
  take(s.sum, rows);
  if (!backward) return;
  take(s.douts, rows * plan.row);
  take(s.dscores, plan.rows * plan.score_stride);
  take(s.query_panels, rows * plan.wide);
  take(s.dout_panels, rows * plan.wide);
  take(s.pairs, plan.rows * plan.score_stride / 2);
  take(s.factors, ring);
}

template <class Take>
void EachKeyArray(const BlockPlan& plan, bool backward, PackedKeys& s, const Take& take) {
  if (s.ring == 0) return;
  take(s.key_panels, s.ring * plan.D);
  take(s.value_panels, s.ring * (backward ? plan.D : plan.wide));
  take(s.visible, s.ring);
  take(s.hides, s.ring / BlockPlan::kPanelUnit);
  take(s.norms, s.ring / BlockPlan::kPanelUnit);
  take(s.rows, BlockPlan::kPanelUnit * plan.row);
  if (!backward) return;
  take(s.key_rows, s.ring * plan.wide);
  take(s.dk, s.ring * plan.row);
  take(s.dv, s.ring * plan.row);
}

// The arrays of a thread's scratch.
auto LayoutOf(const BlockPlan& plan, idx_t rows, bool backward, const TaskScratch& rings) {
  return ScratchLayout(rings, [&plan, rows, backward](TaskScratch& s, const auto& take) {
    EachRowArray(plan, rows, s.keys.ring, backward, s.rows, take);
    EachKeyArray(plan, backward, s.keys, take);
    EachKeyArray(plan, backward, s.globals, take);
  });
}

}  // namespace

std::size_t TaskScratchBytes(const BlockPlan& plan, idx_t rows, bool backward,
                             const TaskScratch& rings) {
  return LayoutOf(plan, rows, backward, rings).Bytes();
}

TaskScratch TaskScratchAt(void* memory, const BlockPlan& plan, idx_t rows, bool backward,
                          const TaskScratch& rings) {
  return LayoutOf(plan, rows, backward, rings).At(memory);
}

}  // namespace longspan
