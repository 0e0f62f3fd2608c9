// Rotary embedding of whole tokens: the cosines and sines of a position are read once and serve all
// heads. x (B, H, T, D) of fp32 or bf16 is turned in place; tails of D / 2 go through zero-padded
// vectors.

// Included once for every target.
#if defined(LONGSPAN_OPS_ROTARY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_ROTARY_INL_H_
#undef LONGSPAN_OPS_ROTARY_INL_H_
#else
#define LONGSPAN_OPS_ROTARY_INL_H_
#endif

#include <hwy/highway.h>

#include "ops/rotary/rotary_arguments.h"
#include "simd/bf16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Turns the head `row` of 2 * half channels by the angles of cos and sin (half), sin times `sign`.
HWY_INLINE void RotateHead(OutRow row, const float* cos, const float* sin, float sign, idx_t half) {
  const OutRow upper{static_cast<std::byte*>(row.data) + half * (row.bf16 ? 2 : 4), row.bf16};
  const auto factor = hn::Set(TileTag(), sign);
  for (idx_t c = 0; c < half; c += kTileLanes) {
    const auto a = LoadRow(row, c, half), b = LoadRow(upper, c, half);
    const auto cosine = LoadTail(cos + c, half - c);
    const auto sine = hn::Mul(factor, LoadTail(sin + c, half - c));
    StoreRow(hn::NegMulAdd(b, sine, hn::Mul(a, cosine)), row, c, half);
    StoreRow(hn::MulAdd(a, sine, hn::Mul(b, cosine)), upper, c, half);
  }
}

// Tokens [begin, end) of all rows, all heads of each.
void RotateTokens(const RotaryArguments& arguments, idx_t begin, idx_t end) {
  const auto [B, H, T, D] = arguments.x.extent;
  for (idx_t n = begin; n < end; ++n) {
    const idx_t position = arguments.positions != nullptr ? arguments.positions[n] : n % T;
    const float* cos = &arguments.table.cos(position, 0);
    const float* sin = &arguments.table.sin(position, 0);
    for (idx_t h = 0; h < H; ++h) {
      RotateHead(arguments.x(n / T, h, n % T), cos, sin, arguments.sign, D / 2);
    }
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_ROTARY_INL_H_
