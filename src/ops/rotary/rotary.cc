#include "ops/rotary/rotary.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/rotary/rotary.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "ops/rotary/rotary-inl.h"

#if HWY_ONCE
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/errors.h"
#include "base/math.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

HWY_EXPORT(RotateTokens);

constexpr idx_t kTaskValues = 1 << 14;  // elements of a task: some microseconds
constexpr idx_t kTaskAngles = 1 << 9;   // a cosine takes as long as 30 products

void CheckRotaryTable(const RotaryTable& table, idx_t D) {
  Check(D >= 2 && D % 2 == 0, ErrorCode::kUsage,
        "rotary: heads of {} channels, need an even number: channels turn in pairs", D);
  Check(table.cos.extent == table.sin.extent && table.cos.extent[1] == D / 2 &&
            table.cos.contiguous() && table.sin.contiguous(),
        ErrorCode::kUsage, "rotary: the table is {} and {}, heads have {} channels",
        ShapeText(table.cos), ShapeText(table.sin), D);
}

void CheckPositions(const RotaryTable& table, std::span<const std::int32_t> positions, idx_t B,
                    idx_t T) {
  const idx_t known = table.cos.extent[0];
  if (positions.empty()) {
    Check(T <= known, ErrorCode::kUsage, "rotary: {} tokens, the table has {} positions", T, known);
    return;
  }
  Check(static_cast<idx_t>(positions.size()) == B * T, ErrorCode::kUsage,
        "rotary: {} positions for {} rows of {} tokens", positions.size(), B, T);
  const auto [low, high] = std::minmax_element(positions.begin(), positions.end());
  Check(*low >= 0 && *high < known, ErrorCode::kUsage,
        "rotary: position {} is not in a table of {} positions", *low < 0 ? *low : *high, known);
}

void Rotate(Context& context, const RotaryTable& table, std::span<const std::int32_t> positions,
            const OutView& x, float sign) {
  const auto [B, H, T, D] = x.extent;
  CheckRotaryTable(table, D);
  if (B * H * T == 0) return;
  CheckPositions(table, positions, B, T);
  const RotaryArguments arguments{x, table, positions.empty() ? nullptr : positions.data(), sign};
  const idx_t tokens = B * T, step = CeilDiv(kTaskValues, H * D);
  ParallelFor(context, CeilDiv(tokens, step), [&](idx_t task, int) {
    HWY_DYNAMIC_DISPATCH(RotateTokens)
    (arguments, task * step, std::min(tokens, (task + 1) * step));
  });
}

}  // namespace

void FillRotaryTable(Context& context, const RotarySpec& spec, idx_t tokens,
                     const RotaryTableOf<float>& table) {
  const idx_t positions = table.cos.extent[0], half = table.cos.extent[1];
  CheckRotaryTable({table.cos, table.sin}, 2 * half);
  std::vector<float> frequencies(static_cast<std::size_t>(half));
  RotaryFrequencies(spec, tokens, frequencies);
  const auto scale = static_cast<float>(RotaryAttentionFactor(spec));
  const idx_t step = CeilDiv(kTaskAngles, half);
  ParallelFor(context, CeilDiv(positions, step), [&](idx_t task, int) {
    for (idx_t c = 0; c < half; ++c) {
      const float frequency = frequencies[static_cast<std::size_t>(c)];
      for (idx_t p = task * step; p < std::min(positions, (task + 1) * step); ++p) {
        const auto angle = static_cast<double>(static_cast<float>(p) * frequency);
        table.cos(p, c) = static_cast<float>(std::cos(angle)) * scale;
        table.sin(p, c) = static_cast<float>(std::sin(angle)) * scale;
      }
    }
  });
}

void FillRotaryTable(Context& context, double theta, const RotaryTableOf<float>& table) {
  RotarySpec spec;
  spec.theta = theta;
  FillRotaryTable(context, spec, 0, table);
}

void RotaryForward(Context& context, const RotaryTable& table,
                   std::span<const std::int32_t> positions, const View<float, 4>& x) {
  Rotate(context, table, positions, x, 1.0f);
}

void RotaryForward(Context& context, const RotaryTable& table,
                   std::span<const std::int32_t> positions, const View<bfloat16, 4>& x) {
  Rotate(context, table, positions, x, 1.0f);
}

void RotaryBackward(Context& context, const RotaryTable& table,
                    std::span<const std::int32_t> positions, const View<float, 4>& dx) {
  Rotate(context, table, positions, dx, -1.0f);
}

}  // namespace longspan
#endif  // HWY_ONCE
