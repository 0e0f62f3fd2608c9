// Comparing what a kernel computed with what a reference says. Knows the ways to be fooled: NaN,
// a sign flip, one wrong element in a million, an all-zero output, a short buffer, a buffer
// compared with itself.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "longspan/types.h"

namespace longspan::test {

// A difference is accepted when max|a-e| <= max_abs and ||a-e|| / ||e|| <= rel_l2.
struct Tolerance {
  double max_abs = 0.0;
  double rel_l2 = 0.0;
};

struct Difference {
  double max_abs = 0.0;  // NaN when the sides could not be compared
  double rel_l2 = 0.0;
  idx_t worst = -1;  // index of the largest difference
  bool ok = false;
  std::string reason;  // empty when ok
};

// Both sides must have the same length > 0, lie apart in memory, hold no NaN, and the expected
// side must not be all zero (use EXPECT_EXACTLY_ZERO for that). Infinities are refused like NaN.
Difference Compare(std::span<const float> actual, std::span<const double> expected,
                   const Tolerance& tolerance);
Difference Compare(std::span<const float> actual, std::span<const float> expected,
                   const Tolerance& tolerance);
Difference Compare(std::span<const double> actual, std::span<const double> expected,
                   const Tolerance& tolerance);

// The rule of docs/reference/numerics.md: `factor` times the error that a naive fp32 implementation
// makes against the same oracle (2 for outputs, 3 for gradients), plus a floor for its luck: four
// fp32 roundings of the largest value. Infinite, which Compare refuses, when `naive` itself is
// nonsense.
Tolerance DerivedTolerance(std::span<const float> naive, std::span<const double> oracle,
                           double factor);

// Raises `most` to the derived tolerance of one more input: a small problem's naive error is a
// matter of luck, so the largest over some inputs of the same shape counts. An oracle that is zero
// but for rounding says nothing, and leaves `most` as it is.
void RaiseTolerance(std::span<const float> naive, std::span<const double> oracle, double factor,
                    Tolerance* most);

// Same bits, same length, apart in memory.
Difference CompareBits(std::span<const float> actual, std::span<const float> expected);

// Every element is +0 or -0, and there is at least one.
Difference CompareToZero(std::span<const float> actual);

// GoogleTest wrappers: EXPECT_MATCHES(actual, expected, tolerance) prints name, index and values.
#define EXPECT_MATCHES(actual, expected, tolerance)                                                \
  do {                                                                                             \
    const auto longspan_difference = ::longspan::test::Compare((actual), (expected), (tolerance)); \
    EXPECT_TRUE(longspan_difference.ok) << #actual << ": " << longspan_difference.reason;          \
  } while (false)
#define EXPECT_SAME_BITS(actual, expected)                                                \
  do {                                                                                    \
    const auto longspan_difference = ::longspan::test::CompareBits((actual), (expected)); \
    EXPECT_TRUE(longspan_difference.ok) << #actual << ": " << longspan_difference.reason; \
  } while (false)
#define EXPECT_EXACTLY_ZERO(actual)                                                       \
  do {                                                                                    \
    const auto longspan_difference = ::longspan::test::CompareToZero((actual));           \
    EXPECT_TRUE(longspan_difference.ok) << #actual << ": " << longspan_difference.reason; \
  } while (false)

}  // namespace longspan::test
