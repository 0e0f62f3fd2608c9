#include "ops/dropout/dropout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "longspan/error.h"
#include "ops/dropout/dropout_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::RandomNormal;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
const Dropout kSite{0.3f, 0x123456789abcdefull};

std::vector<float> Applied(const Dropout& dropout, std::vector<float> x, idx_t T, idx_t C,
                           idx_t first) {
  Context context(2);
  ApplyDropout(context, dropout, {x.data(), {T, C}}, first);
  return x;
}

// --- the reference's gradient: the same masks and scales on the gradient

TEST(Dropout, ReferenceGradientByComplexStep) {
  const std::vector<float> x = RandomNormal(1, 200), dy = RandomNormal(2, 200);
  const auto loss = [&](std::span<const test::Complex> in) {
    const auto y = DropoutReference<test::Complex>(kSite, {in.begin(), in.end()}, 5);
    test::Complex sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * y[i] * static_cast<double>(dy[i]);
    return sum;
  };
  std::vector<double> upstream = DropoutReference(kSite, test::ToDouble(x), 5);
  for (std::size_t i = 0; i < upstream.size(); ++i) upstream[i] *= 2.0 * dy[i];
  const auto gradient = DropoutReference(kSite, upstream, 5);
  EXPECT_EQ(test::CheckGradient(loss, test::ToDouble(x), gradient), "");
}

// --- the kernel: one product a value, so the float reference is met bit for bit

TEST(Dropout, IsTheMaskOfTheDefinition) {
  for (const idx_t C : {1, 7, 16, 63, 64, 65, 100, 512}) {
    for (const idx_t first : {0, 1, 15, 63, 64, 1000003}) {
      SCOPED_TRACE(testing::Message() << "C " << C << ", first " << first);
      const std::vector<float> x = RandomNormal(3, 33 * C);
      EXPECT_SAME_BITS(Applied(kSite, x, 33, C, first), DropoutReference(kSite, x, first));
    }
  }
}

TEST(Dropout, LongInputsAreCutWhereGroupsEnd) {
  const std::vector<float> x = RandomNormal(3, 3 * 20001);
  for (const idx_t first : {0, 37}) {
    EXPECT_SAME_BITS(Applied(kSite, x, 3, 20001, first), DropoutReference(kSite, x, first));
  }
}

TEST(Dropout, CountersBeyond32BitsAreReached) {
  const idx_t first = (idx_t{1} << 36) - 70;  // the counter's low word wraps inside the run
  const std::vector<float> x = RandomNormal(3, 200);
  EXPECT_SAME_BITS(Applied(kSite, x, 1, 200, first), DropoutReference(kSite, x, first));
}

// Rows that are some of a longer matrix, in any order, have the factors that they have there.
TEST(Dropout, RowsKeepTheirNumbers) {
  const std::vector<std::int32_t> numbers = {3, 4, 17, 2, 30};
  for (const idx_t C : {1, 7, 64, 100}) {
    const std::vector<float> x = RandomNormal(3, 33 * C);
    const std::vector<float> all = Applied(kSite, x, 33, C, 0);
    const auto rows = [&](const std::vector<float>& from) {
      std::vector<float> taken;
      for (const std::int32_t n : numbers) {
        taken.insert(taken.end(), from.begin() + n * C, from.begin() + (n + 1) * C);
      }
      return taken;
    };
    Context context(2);
    std::vector<float> some = rows(x), sum(some.size());
    AddDropout(context, kSite, {some.data(), {5, C}}, {sum.data(), {5, C}}, {0, numbers});
    std::vector<float> expected = rows(all);
    for (float& value : expected) value += 0.0f;  // -0 + 0 = 0
    EXPECT_SAME_BITS(sum, expected);
    ApplyDropout(context, kSite, {some.data(), {5, C}}, RowNumbers{0, numbers});
    EXPECT_SAME_BITS(some, rows(all));
    // Numbers that follow each other.
    some.assign(x.begin() + 2 * C, x.begin() + 7 * C);
    ApplyDropout(context, kSite, {some.data(), {5, C}}, RowNumbers{2, {}});
    EXPECT_SAME_BITS(some, std::vector<float>(all.begin() + 2 * C, all.begin() + 7 * C));
  }
}

TEST(Dropout, AWrongMaskIsSeen) {  // the planted bugs: another site, elements shifted by one
  const std::vector<float> x = RandomNormal(3, 1000);
  const std::vector<float> y = Applied(kSite, x, 10, 100, 0);
  EXPECT_FALSE(test::CompareBits(y, DropoutReference({0.3f, kSite.key + 1}, x, 0)).ok);
  EXPECT_FALSE(test::CompareBits(y, DropoutReference(kSite, x, 1)).ok);
  EXPECT_FALSE(test::CompareBits(y, DropoutReference({0.31f, kSite.key}, x, 0)).ok);
}

TEST(Dropout, AddingThenSubtractingUsesTheSameProduct) {
  Context context(2);
  const std::vector<float> x = RandomNormal(4, 40 * 70), start = RandomNormal(5, 40 * 70);
  for (const Dropout& site : {kSite, Dropout{}}) {
    const std::vector<float> product = DropoutReference(site, x, 9);
    std::vector<float> y = start, sum(y.size()), difference(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      sum[i] = start[i] + product[i];
      difference[i] = sum[i] - product[i];
    }
    AddDropout(context, site, View<const float, 2>(x.data(), {40, 70}), {y.data(), {40, 70}}, 9);
    EXPECT_SAME_BITS(y, sum);
    SubtractDropout(context, site, View<const float, 2>(x.data(), {40, 70}), {y.data(), {40, 70}},
                    9);
    EXPECT_SAME_BITS(y, difference);
  }
}

// --- edges

TEST(Dropout, OffChangesNothing) {
  const std::vector<float> x = {1.0f, kNan, -0.0f};
  EXPECT_SAME_BITS(Applied({}, x, 1, 3, 0), x);
}

TEST(Dropout, StridedViewsLeaveTheGapsAlone) {
  Context context(2);
  constexpr idx_t T = 300, C = 70, kXStride = 75, kYStride = 71;
  const std::vector<float> values = RandomNormal(6, T * C);
  const std::vector<float> expected = DropoutReference(kSite, values, 3);
  std::vector<float> x(T * kXStride, kNan), y(T * kYStride, kNan);
  const View<float, 2> xv(x.data(), {T, C}, {kXStride, 1}), yv(y.data(), {T, C}, {kYStride, 1});
  for (idx_t t = 0; t < T; ++t) {
    for (idx_t c = 0; c < C; ++c) {
      xv(t, c) = values[static_cast<std::size_t>(t * C + c)];
      yv(t, c) = 1.0f;
    }
  }
  AddDropout(context, kSite, xv, yv, 3);
  ApplyDropout(context, kSite, xv, 3);
  for (idx_t t = 0; t < T; ++t) {
    for (idx_t c = 0; c < C; ++c) {
      ASSERT_EQ(xv(t, c), expected[static_cast<std::size_t>(t * C + c)]);
      ASSERT_EQ(yv(t, c), 1.0f + expected[static_cast<std::size_t>(t * C + c)]);
    }
    for (idx_t c = C; c < kXStride; ++c) ASSERT_TRUE(std::isnan(x[t * kXStride + c]));
    for (idx_t c = C; c < kYStride; ++c) ASSERT_TRUE(std::isnan(y[t * kYStride + c]));
  }
}

TEST(Dropout, EmptyIsFine) {
  Context context(1);
  float none = 0.0f;
  ApplyDropout(context, kSite, {&none, {0, 5}});
  ApplyDropout(context, kSite, {&none, {5, 0}});
}

// --- threads

TEST(Dropout, SameBitsForAnyThreads) {
  test::ExpectSameBitsForAnyThreads([](Context& context) {
    std::vector<float> x = RandomNormal(7, 999 * 101);
    ApplyDropout(context, kSite, {x.data(), {999, 101}}, 17);
    return x;
  });
}

// --- bad arguments

TEST(Dropout, BadArgumentsAreNamed) {
  Context context(1);
  std::vector<float> data(12);
  const View<float, 2> x(data.data(), {3, 4}), other(data.data(), {4, 3});
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return error.what();
    }
    return "nothing thrown";
  };
  using testing::HasSubstr;
  EXPECT_EQ(message([&] { AddDropout(context, kSite, x, other); }),
            "dropout: x is (3, 4), y is (4, 3)");
  EXPECT_EQ(message([&] { SubtractDropout(context, kSite, x, other); }),
            "dropout: x is (3, 4), y is (4, 3)");
  EXPECT_THAT(message([&] { ApplyDropout(context, {1.0f, 1}, x); }), HasSubstr("probability 1"));
  const std::vector<std::int32_t> two = {0, 1};
  EXPECT_EQ(message([&] {
              ApplyDropout(context, kSite, x, RowNumbers{0, two});
            }),
            "dropout: 2 numbers for 3 rows");
  EXPECT_THAT(message([&] { ApplyDropout(context, {-0.5f, 1}, x); }), HasSubstr("-0.5"));
  EXPECT_THAT(message([&] { ApplyDropout(context, {kNan, 1}, x); }), HasSubstr("nan"));
  EXPECT_THAT(message([&] { ApplyDropout(context, kSite, x, -1); }), HasSubstr("-1"));
}

}  // namespace
}  // namespace longspan
