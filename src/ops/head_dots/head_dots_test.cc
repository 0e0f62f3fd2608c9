#include "ops/head_dots/head_dots.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/bfloat16.h"
#include "longspan/error.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

TEST(HeadDots, AreSumsOfProducts) {
  Context context(2);
  for (const idx_t D : {1, 5, 16, 33, 64, 100}) {
    for (const idx_t T : {1, 7, 1025}) {
      constexpr idx_t kB = 2, kH = 3;
      // Heads side by side in rows of (T, H D), as models have them.
      const std::array<idx_t, 4> shape = {kB, kH, T, D}, steps = {T * kH * D, D, kH * D, 1};
      const auto a = test::RandomNormal(1, kB * kH * T * D);
      std::vector<bfloat16> b;
      for (const float x : test::RandomNormal(2, kB * kH * T * D)) b.push_back(ToBfloat16(x));
      std::vector<float> dots(static_cast<std::size_t>(kB * kH * T), -1.0f);
      HeadDots(context, View<const float, 4>(a.data(), shape, steps),
               View<const bfloat16, 4>(b.data(), shape, steps), {dots.data(), {kB, kH, T}});
      for (idx_t i = 0; i < kB * kH * T; ++i) {
        const idx_t row = i / T / kH * T + i % T, head = i / T % kH;
        double sum = 0.0, size = 0.0;
        for (idx_t d = 0; d < D; ++d) {
          const auto at = static_cast<std::size_t>((row * kH + head) * D + d);
          const double term = static_cast<double>(a[at]) * static_cast<double>(ToFloat(b[at]));
          sum += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(dots[static_cast<std::size_t>(i)], sum, 1e-6 * size + 1e-7) << T << " " << D;
      }
    }
  }
}

TEST(HeadDots, ShapesThatDifferAreRefused) {
  Context context(1);
  std::vector<float> x(64), dots(16);
  const View<const float, 4> a(x.data(), {1, 2, 8, 4});
  EXPECT_THROW(
      HeadDots(context, a, View<const float, 4>(x.data(), {1, 2, 4, 8}), {dots.data(), {1, 2, 8}}),
      Error);
  EXPECT_THROW(HeadDots(context, a, a, {dots.data(), {1, 2, 7}}), Error);
}

}  // namespace
}  // namespace longspan
