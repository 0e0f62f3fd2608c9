// The vector generator against the scalar one of base/rng.h: equal bit for bit.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/philox_test.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "simd/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

void Group(std::uint64_t key, std::uint64_t group, std::uint32_t* words) {
  PhiloxGroup(key, group, words);
}
void Factors(const Dropout& dropout, idx_t first, idx_t count, float* factors) {
  DropoutFactors(dropout, first, count, factors);
}
void ApplyRow(const Dropout& dropout, idx_t first, float* row, idx_t count) {
  ApplyDropoutRow(dropout, first, row, count);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "longspan/context.h"

namespace longspan {
namespace {

HWY_EXPORT(Group);
HWY_EXPORT(Factors);
HWY_EXPORT(ApplyRow);

class VectorPhilox : public testing::Test {
 protected:
  Context context_{1};
};

TEST_F(VectorPhilox, GroupEqualsScalarWords) {
  // The last groups need the upper half of the counter and of the key.
  const std::uint64_t groups[] = {0,
                                  1,
                                  12345,
                                  (std::uint64_t{1} << 28) - 1,
                                  (std::uint64_t{1} << 28),
                                  (std::uint64_t{1} << 58) + 77};
  for (const std::uint64_t key : {std::uint64_t{0}, std::uint64_t{42}, ~std::uint64_t{0},
                                  std::uint64_t{0x123456789abcdef0}}) {
    for (const std::uint64_t group : groups) {
      alignas(64) std::uint32_t words[64];
      HWY_DYNAMIC_DISPATCH(Group)(key, group, words);
      for (std::uint64_t l = 0; l < 16; ++l) {
        const auto expected = Philox(key, 16 * group + l);
        for (std::size_t w = 0; w < 4; ++w) {
          ASSERT_EQ(words[16 * w + l], expected[w]) << key << " " << group << " " << l << " " << w;
        }
      }
    }
  }
}

TEST_F(VectorPhilox, FactorsEqualScalarForAnyStart) {
  for (const float p : {0.0f, 0.05f, 0.1f, 0.5f, 0.999f}) {
    const Dropout dropout{p, 99};
    for (const idx_t first : {0, 1, 15, 63, 64, 65, 127, 1000003}) {
      for (const idx_t count : {0, 1, 7, 63, 64, 65, 200}) {
        std::vector<float> factors(static_cast<std::size_t>(count) + 1, -7.0f);
        HWY_DYNAMIC_DISPATCH(Factors)(dropout, first, count, factors.data());
        for (idx_t i = 0; i < count; ++i) {
          ASSERT_EQ(factors[static_cast<std::size_t>(i)], dropout.Factor(first + i))
              << p << " " << first << " " << i;
        }
        ASSERT_EQ(factors.back(), -7.0f);
      }
    }
  }
}

TEST_F(VectorPhilox, RowIsMultipliedInPlaceAndNothingBehindIt) {
  const Dropout dropout{0.3f, 5};
  for (const idx_t first : {0, 3, 64, 100}) {
    for (const idx_t count : {1, 5, 64, 130}) {
      std::vector<float> row(static_cast<std::size_t>(count) + 2);
      for (std::size_t i = 0; i < row.size(); ++i) row[i] = 0.5f + static_cast<float>(i);
      const std::vector<float> before = row;
      HWY_DYNAMIC_DISPATCH(ApplyRow)(dropout, first, row.data() + 1, count);
      for (idx_t i = 0; i < count; ++i) {
        const auto j = static_cast<std::size_t>(i) + 1;
        ASSERT_EQ(row[j], before[j] * dropout.Factor(first + i));
      }
      ASSERT_EQ(row.front(), before.front());
      ASSERT_EQ(row.back(), before.back());
    }
  }
}

TEST_F(VectorPhilox, DropsAtTheGivenRate) {
  const Dropout dropout{0.1f, 2026};
  const idx_t count = 1 << 20;
  std::vector<float> factors(static_cast<std::size_t>(count));
  HWY_DYNAMIC_DISPATCH(Factors)(dropout, 0, count, factors.data());
  idx_t dropped = 0;
  for (const float factor : factors) dropped += factor == 0.0f ? 1 : 0;
  // Five standard deviations of a binomial.
  const double deviation = std::sqrt(static_cast<double>(count) * 0.1 * 0.9);
  EXPECT_NEAR(static_cast<double>(dropped), 0.1 * static_cast<double>(count), 5.0 * deviation);
}

}  // namespace
}  // namespace longspan
#endif  // HWY_ONCE
