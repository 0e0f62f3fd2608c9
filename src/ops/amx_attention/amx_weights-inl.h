// The exponential of the tile kernels: 32 weights in bf16 from two lines of scores by integer work
// on 16-bit words, 6 instructions on AVX-512. In fp32 it takes 21 or more, and the unit multiplies
// 32 weights in 8 cycles: it would wait.
//
//   y = score unit + kMagic, rounded to an integer by its size: the low word of y's bits is
//   t = 256 (x + 127) - kTableShift, where 2^x is the weight and unit = 256 log2(e) scale
// 256 (x + 127) are the bits of a bf16, twice as fine, of 2^n (1 + f) where 2^n 2^f is wanted
// (x = n + f). A table of 64 bytes by the upper six bits of f says how much that is too much, and
// the rounding average of both has the bits of the bf16. Error of a weight: 2.2e-3 (rms), of which
// rounding to bf16 itself has 1.6e-3.
//
// x must lie in (-127, 128): either scores are known to be small, or they are relative to a maximum
// and not below kLeastScore, whose weight is 2^-126.

// Included once for every target.
#if defined(LONGSPAN_OPS_AMX_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGSPAN_OPS_AMX_WEIGHTS_INL_H_
#undef LONGSPAN_OPS_AMX_WEIGHTS_INL_H_
#else
#define LONGSPAN_OPS_AMX_WEIGHTS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "simd/line-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

inline constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
// Parts of a power of two that t has.
inline constexpr float kPerOctave = 256.0f;
inline constexpr float kTableShift = 32.0f;  // keeps the table's entries positive
inline constexpr float kMagic = 12582912.0f + 127.0f * kPerOctave - kTableShift;  // 1.5 2^23 + ...
inline constexpr float kLeastScore = kMagic - 126.0f * kPerOctave;

// Entry i: kTableShift less the mean of 256 (1 + f - 2^f) over the four t whose upper six bits of
// the fraction are i; f = t / 256 + kTableShift / 256, modulo 1. A test computes it anew.
alignas(64) inline constexpr std::uint8_t kExcess[64] = {
    23, 22, 21, 20, 19, 18, 18, 17, 16, 16, 15, 14, 14, 13, 13, 12, 12, 11, 11, 11, 11, 10,
    10, 10, 10, 10, 10, 10, 10, 10, 10, 11, 11, 11, 12, 12, 12, 13, 14, 14, 15, 16, 16, 17,
    18, 19, 20, 21, 22, 23, 24, 25, 27, 28, 30, 31, 32, 30, 29, 28, 27, 26, 25, 24};

// Weights of lanes i of a and b, as words 2 i and 2 i + 1.
HWY_INLINE Line WeightsOf(const Line& a, const Line& b, const Line& excess) {
  return AverageWithTable(JoinLowWords(a, b), excess);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#endif  // LONGSPAN_OPS_AMX_WEIGHTS_INL_H_
