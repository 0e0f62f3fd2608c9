#include "ops/rotary/rotary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "base/bfloat16.h"
#include "longspan/error.h"
#include "ops/rotary/rotary_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::Complex;
using test::DerivedTolerance;
using test::RandomNormal;
using test::ToDouble;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A table that owns its memory.
struct Table {
  idx_t positions, half;
  std::vector<float> cos, sin;

  Table(Context& context, double theta, idx_t count, idx_t width)
      : positions(count),
        half(width / 2),
        cos(static_cast<std::size_t>(count * half)),
        sin(cos.size()) {
    FillRotaryTable(context, theta, {{cos.data(), {count, half}}, {sin.data(), {count, half}}});
  }
  RotaryTable view() const {
    return {{cos.data(), {positions, half}}, {sin.data(), {positions, half}}};
  }
};

std::vector<std::int32_t> Counted(idx_t tokens) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(tokens));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

// x (tokens, heads, width) as one row of a batch.
View<float, 4> Heads(std::vector<float>& x, idx_t tokens, idx_t heads, idx_t width) {
  return {x.data(), {1, heads, tokens, width}, {0, width, heads * width, 1}};
}

std::vector<float> Turned(Context& context, std::vector<float> x,
                          const std::vector<std::int32_t>& positions, idx_t heads, idx_t width,
                          double theta, bool back = false) {
  const auto tokens = static_cast<idx_t>(positions.size());
  const Table table(context, theta, 9000, width);
  const auto view = Heads(x, tokens, heads, width);
  if (back) {
    RotaryBackward(context, table.view(), positions, view);
  } else {
    RotaryForward(context, table.view(), positions, view);
  }
  return x;
}

// --- the reference's gradient

TEST(Rotary, ReferenceGradientByComplexStep) {
  const std::vector<float> x = RandomNormal(1, 5 * 3 * 6), dy = RandomNormal(2, 5 * 3 * 6);
  const std::vector<std::int32_t> positions = {0, 7, 1, 300, 2};
  const auto loss = [&](std::span<const Complex> in) {
    const auto y = ref::Rotary<Complex>({in.begin(), in.end()}, positions, 3, 6, 100.0, 1.0);
    Complex sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * static_cast<double>(dy[i]);
    return sum;
  };
  const auto gradient = ref::Rotary(ToDouble(dy), positions, 3, 6, 100.0, -1.0);
  EXPECT_EQ(test::CheckGradient(loss, ToDouble(x), gradient), "");
}

// --- the table

TEST(Rotary, AnglesAreRoundedAsTheOriginalRoundsThem) {
  Context context(2);
  for (const double theta : {10000.0, 160000.0}) {
    const Table table(context, theta, 8192, 64);
    double far = 0.0;
    for (const idx_t p : {0, 1, 77, 8191}) {
      for (idx_t c = 0; c < 32; ++c) {
        const auto angle = static_cast<double>(ref::RotaryAngle(theta, p, c, 64));
        EXPECT_NEAR(table.view().cos(p, c), std::cos(angle), 6e-8) << p << " " << c;
        EXPECT_NEAR(table.view().sin(p, c), std::sin(angle), 6e-8) << p << " " << c;
        const double exact = static_cast<double>(p) * std::pow(theta, -2.0 * c / 64.0);
        far = std::max(far, std::abs(angle - exact));
      }
    }
    EXPECT_GT(far, 1e-4);  // so exact angles would be seen
    EXPECT_LT(far, 5e-4);
  }
}

TEST(Rotary, ScoresDependOnTheDistanceAlone) {
  Context context(1);
  const std::vector<float> q = RandomNormal(1, 64), k = RandomNormal(2, 64);
  const auto score = [&](std::int32_t at_q, std::int32_t at_k) {
    const auto a = Turned(context, q, {at_q}, 1, 64, 10000.0);
    const auto b = Turned(context, k, {at_k}, 1, 64, 10000.0);
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  EXPECT_NEAR(score(7, 3), score(104, 100), 1e-4);
  EXPECT_GT(std::abs(score(7, 3) - score(3, 7)), 1e-2);  // its sign counts
}

// --- the kernel against the reference

void ExpectMatchesReference(idx_t tokens, idx_t heads, idx_t width, double theta) {
  SCOPED_TRACE(testing::Message() << tokens << " tokens, " << heads << " x " << width);
  Context context(2);
  const std::vector<float> x = RandomNormal(3, tokens * heads * width);
  const std::vector<std::int32_t> positions = Counted(tokens);
  for (const double sign : {1.0, -1.0}) {
    const auto expected = ref::Rotary(ToDouble(x), positions, heads, width, theta, sign);
    const auto naive = ref::Rotary(x, positions, heads, width, theta, sign);
    EXPECT_MATCHES(Turned(context, x, positions, heads, width, theta, sign < 0.0), expected,
                   DerivedTolerance(naive, expected, sign > 0.0 ? 2 : 3));
  }
}

TEST(Rotary, MatchesReference) {
  ExpectMatchesReference(300, 4, 64, 10000.0);
  ExpectMatchesReference(70, 12, 32, 160000.0);
}

TEST(Rotary, AnySizes) {
  for (const idx_t width : {2, 4, 6, 14, 16, 18, 30, 34, 66, 130}) {
    ExpectMatchesReference(9, 3, width, 10000.0);
  }
  for (const idx_t tokens : {1, 2, 3, 17}) ExpectMatchesReference(tokens, 1, 8, 500.0);
}

TEST(Rotary, PlantedBugsBreakTheTolerance) {
  const std::vector<float> x = RandomNormal(3, 40 * 2 * 16);
  const auto positions = Counted(40);
  const auto y = ref::Rotary(ToDouble(x), positions, 2, 16, 10000.0, 1.0);
  const auto tolerance = DerivedTolerance(ref::Rotary(x, positions, 2, 16, 10000.0, 1.0), y, 2);
  const auto expect_seen = [&](const char* bug, const std::vector<double>& wrong) {
    const test::Difference difference = test::Compare(wrong, y, tolerance);
    EXPECT_GT(difference.max_abs, 10 * tolerance.max_abs) << bug;
    EXPECT_GT(difference.rel_l2, 10 * tolerance.rel_l2) << bug;
  };
  expect_seen("another theta", ref::Rotary(ToDouble(x), positions, 2, 16, 10010.0, 1.0));
  expect_seen("backwards", ref::Rotary(ToDouble(x), positions, 2, 16, 10000.0, -1.0));
  auto shifted = positions;
  for (auto& p : shifted) ++p;
  expect_seen("positions from 1", ref::Rotary(ToDouble(x), shifted, 2, 16, 10000.0, 1.0));
}

TEST(Rotary, BackwardUndoesForward) {
  Context context(2);
  const std::vector<float> x = RandomNormal(5, 100 * 2 * 32);
  const auto there = Turned(context, x, Counted(100), 2, 32, 160000.0);
  const auto back = Turned(context, there, Counted(100), 2, 32, 160000.0, true);
  EXPECT_MATCHES(back, x, (test::Tolerance{2e-6, 2e-7}));
}

// --- layouts

// Queries and keys of a joined matrix turn, values stay; rows are rows of a batch.
TEST(Rotary, InsideAJoinedMatrix) {
  constexpr idx_t kRows = 2, kTokens = 11, kHeads = 3, kWidth = 10, kChannels = kHeads * kWidth;
  Context context(2);
  std::vector<float> joined = RandomNormal(6, kRows * kTokens * 3 * kChannels);
  for (std::size_t i = 0; i < joined.size(); ++i) {
    if (i % (3 * kChannels) >= 2 * kChannels) joined[i] = kNan;
  }
  const std::vector<float> before = joined;
  const Table table(context, 10000.0, kTokens, kWidth);
  RotaryForward(context, table.view(), {},
                View<float, 4>{joined.data(),
                               {kRows, 2 * kHeads, kTokens, kWidth},
                               {kTokens * 3 * kChannels, kWidth, 3 * kChannels, 1}});
  for (idx_t n = 0; n < kRows * kTokens; ++n) {
    const auto begin = static_cast<std::size_t>(n * 3 * kChannels);
    std::vector<float> heads(before.begin() + static_cast<std::ptrdiff_t>(begin),
                             before.begin() + static_cast<std::ptrdiff_t>(begin) + 2 * kChannels);
    const auto expected =
        ref::Rotary(heads, {static_cast<std::int32_t>(n % kTokens)}, 2 * kHeads, kWidth, 1e4, 1.0);
    for (std::size_t c = 0; c < expected.size(); ++c) {
      ASSERT_NEAR(joined[begin + c], expected[c], 1e-6) << n << " " << c;
    }
    for (std::size_t c = 2 * kChannels; c < 3 * kChannels; ++c) {
      ASSERT_TRUE(std::isnan(joined[begin + c]));
    }
  }
}

TEST(Rotary, PositionsMayBeginAnew) {
  Context context(2);
  const std::vector<float> x = RandomNormal(7, 12 * 16);
  const auto both = Turned(context, x, {0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6}, 1, 16, 1e4);
  const auto first = Turned(context, {x.begin(), x.begin() + 5 * 16}, Counted(5), 1, 16, 1e4);
  const auto second = Turned(context, {x.begin() + 5 * 16, x.end()}, Counted(7), 1, 16, 1e4);
  EXPECT_SAME_BITS(std::vector<float>(both.begin(), both.begin() + 5 * 16), first);
  EXPECT_SAME_BITS(std::vector<float>(both.begin() + 5 * 16, both.end()), second);
}

TEST(Rotary, Bf16IsStorageOnly) {
  Context context(2);
  for (const idx_t width : {6, 32, 64, 70}) {
    std::vector<bfloat16> x;
    std::vector<float> wide;
    for (const float value : RandomNormal(8, 20 * 2 * width)) {
      x.push_back(ToBfloat16(value));
      wide.push_back(ToFloat(x.back()));
    }
    const Table table(context, 160000.0, 20, width);
    RotaryForward(context, table.view(), {},
                  View<bfloat16, 4>{x.data(), {1, 2, 20, width}, {0, width, 2 * width, 1}});
    const auto expected = Turned(context, wide, Counted(20), 2, width, 160000.0);
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_EQ(ToFloat(x[i]), ToFloat(ToBfloat16(expected[i]))) << width << " " << i;
    }
  }
}

TEST(Rotary, NanStaysInItsPair) {
  Context context(1);
  std::vector<float> x = RandomNormal(9, 2 * 8);
  x[1] = kNan;
  const auto y = Turned(context, x, Counted(2), 1, 8, 1e4);
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i == 1 || i == 5) << i;
}

// --- threads, arguments

TEST(Rotary, SameBitsForAnyThreads) {
  const std::vector<float> x = RandomNormal(10, 700 * 4 * 32);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    auto all = Turned(context, x, Counted(700), 4, 32, 1e4);
    const auto back = Turned(context, x, Counted(700), 4, 32, 1e4, true);
    all.insert(all.end(), back.begin(), back.end());
    return all;
  });
}

TEST(Rotary, NoTokensIsFine) {
  Context context(1);
  const Table table(context, 1e4, 4, 8);
  float none = 0.0f;
  RotaryForward(context, table.view(), {}, View<float, 4>{&none, {1, 2, 0, 8}});
}

TEST(Rotary, BadArgumentsAreNamed) {
  Context context(1);
  const Table table(context, 1e4, 4, 8);
  std::vector<float> data(64);
  const auto message = [&](idx_t tokens, idx_t width, std::vector<std::int32_t> positions) {
    try {
      RotaryForward(context, table.view(), positions,
                    View<float, 4>{data.data(), {1, 1, tokens, width}});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return std::string(error.what());
    }
    return std::string("nothing thrown");
  };
  using testing::HasSubstr;
  EXPECT_THAT(message(2, 7, {}), HasSubstr("heads of 7 channels, need an even number"));
  EXPECT_THAT(message(2, 6, {}), HasSubstr("the table is (4, 4) and (4, 4), heads have 6"));
  EXPECT_THAT(message(5, 8, {}), HasSubstr("5 tokens, the table has 4 positions"));
  EXPECT_THAT(message(2, 8, {0}), HasSubstr("1 positions for 1 rows of 2 tokens"));
  EXPECT_THAT(message(2, 8, {0, 4}), HasSubstr("position 4 is not in a table of 4"));
  EXPECT_THAT(message(2, 8, {-1, 0}), HasSubstr("position -1 is not in"));
  EXPECT_THROW(Table(context, 0.0, 4, 8), Error);
  EXPECT_THROW(Table(context, std::numeric_limits<double>::infinity(), 4, 8), Error);
}

}  // namespace
}  // namespace longspan
