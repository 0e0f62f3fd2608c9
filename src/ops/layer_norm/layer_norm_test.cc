#include "ops/layer_norm/layer_norm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/bfloat16.h"
#include "longspan/error.h"
#include "ops/layer_norm/layer_norm_ref.h"
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

constexpr float kEps = 1e-5f;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Everything one case needs; gamma around 1, x with a mean.
struct Case {
  idx_t tokens, channels;
  float eps = kEps;
  std::vector<float> x, gamma, beta, dy;

  Case(idx_t t, idx_t c, float mean = 0.5f, float scale = 1.0f) : tokens(t), channels(c) {
    x = RandomNormal(1, t * c, scale);
    for (float& value : x) value += mean;
    gamma = RandomNormal(2, c, 0.3f);
    for (float& value : gamma) value += 1.0f;
    beta = RandomNormal(3, c);
    dy = RandomNormal(4, t * c);
  }
};

struct Result {
  std::vector<float> y, dx, dgamma, dbeta;
};

View<const float, 1> Row(const std::vector<float>& values) {
  return {values.data(), {static_cast<idx_t>(values.size())}};
}
View<float, 1> Row(std::vector<float>& values) {
  return {values.data(), {static_cast<idx_t>(values.size())}};
}

Result RunCase(Context& context, const Case& c) {
  const std::array<idx_t, 2> shape = {c.tokens, c.channels};
  Result r;
  r.y.assign(c.x.size(), kNan);
  r.dx.assign(c.x.size(), 0.0f);
  r.dgamma.assign(c.gamma.size(), 0.0f);
  r.dbeta.assign(c.gamma.size(), 0.0f);
  const LayerNormWeights weights{Row(c.gamma), Row(c.beta), c.eps};
  LayerNormForward(context, weights, {c.x.data(), shape}, {r.y.data(), shape});
  LayerNormBackward(context, weights, {c.x.data(), shape}, {c.dy.data(), shape},
                    {r.dx.data(), shape}, {Row(r.dgamma), Row(r.dbeta)});
  return r;
}

void ExpectMatchesReference(const Case& c) {
  SCOPED_TRACE(testing::Message() << "tokens " << c.tokens << ", channels " << c.channels);
  Context context(2);
  const Result actual = RunCase(context, c);
  const auto y =
      LayerNormReference(ToDouble(c.x), ToDouble(c.gamma), ToDouble(c.beta), c.eps, c.tokens);
  const auto naive_y = LayerNormReference(c.x, c.gamma, c.beta, c.eps, c.tokens);
  EXPECT_MATCHES(actual.y, y, DerivedTolerance(naive_y, y, 2));
  const auto g =
      LayerNormReferenceBackward(ToDouble(c.x), ToDouble(c.gamma), ToDouble(c.dy), c.eps, c.tokens);
  const auto naive = LayerNormReferenceBackward(c.x, c.gamma, c.dy, c.eps, c.tokens);
  EXPECT_MATCHES(actual.dgamma, g.dgamma, DerivedTolerance(naive.dgamma, g.dgamma, 3));
  EXPECT_MATCHES(actual.dbeta, g.dbeta, DerivedTolerance(naive.dbeta, g.dbeta, 3));
  EXPECT_MATCHES(actual.dx, g.dx, DerivedTolerance(naive.dx, g.dx, 3));
}

// --- the reference's gradient

TEST(LayerNorm, ReferenceGradientByComplexStep) {
  const Case c(3, 7);
  const std::vector<double> dy = ToDouble(c.dy);
  std::vector<double> inputs = ToDouble(c.x);
  const std::vector<double> gamma = ToDouble(c.gamma), beta = ToDouble(c.beta);
  inputs.insert(inputs.end(), gamma.begin(), gamma.end());
  inputs.insert(inputs.end(), beta.begin(), beta.end());
  const auto loss = [&](std::span<const Complex> in) {
    const auto y = LayerNormReference<Complex>({in.begin(), in.begin() + 21},
                                               {in.begin() + 21, in.begin() + 28},
                                               {in.begin() + 28, in.end()}, c.eps, c.tokens);
    Complex sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  };
  const auto g = LayerNormReferenceBackward(ToDouble(c.x), gamma, dy, c.eps, c.tokens);
  std::vector<double> gradient = g.dx;
  gradient.insert(gradient.end(), g.dgamma.begin(), g.dgamma.end());
  gradient.insert(gradient.end(), g.dbeta.begin(), g.dbeta.end());
  EXPECT_EQ(test::CheckGradient(loss, inputs, gradient), "");
}

// --- the kernel against the reference

TEST(LayerNorm, MatchesReference) {
  ExpectMatchesReference(Case(100, 512));
  ExpectMatchesReference(Case(9000, 24));  // several row blocks of more than the fewest rows
  ExpectMatchesReference(Case(70, 64, 100.0f));
  ExpectMatchesReference(Case(5, 1024, -3.0f, 1e-3f));
  ExpectMatchesReference(Case(5, 300, 0.0f, 1e4f));
}

TEST(LayerNorm, PlantedBugsBreakTheTolerance) {
  const Case c(20, 64);
  const auto y = LayerNormReference(ToDouble(c.x), ToDouble(c.gamma), ToDouble(c.beta), c.eps, 20);
  const auto tolerance =
      DerivedTolerance(LayerNormReference(c.x, c.gamma, c.beta, c.eps, 20), y, 2);
  // The unbiased variance, C - 1 in place of C: an error of 1 / 128.
  std::vector<float> unbiased(c.x.size());
  for (std::size_t i = 0; i < unbiased.size(); ++i) {
    const double beta = c.beta[i % 64];
    unbiased[i] = static_cast<float>((y[i] - beta) * std::sqrt(63.0 / 64.0) + beta);
  }
  const test::Difference difference = test::Compare(unbiased, y, tolerance);
  EXPECT_GT(difference.max_abs, 10 * tolerance.max_abs);
  EXPECT_GT(difference.rel_l2, 10 * tolerance.rel_l2);
  // dx without the term of the variance.
  const auto g =
      LayerNormReferenceBackward(ToDouble(c.x), ToDouble(c.gamma), ToDouble(c.dy), c.eps, 20);
  const auto naive = LayerNormReferenceBackward(c.x, c.gamma, c.dy, c.eps, 20);
  const auto dx_tolerance = DerivedTolerance(naive.dx, g.dx, 3);
  std::vector<double> normalised(64), wrong = g.dx;
  double mean = 0.0, variance = 0.0, mean_gn = 0.0;
  for (std::size_t i = 0; i < 64; ++i) mean += c.x[i] / 64.0;
  for (std::size_t i = 0; i < 64; ++i) variance += (c.x[i] - mean) * (c.x[i] - mean) / 64.0;
  for (std::size_t i = 0; i < 64; ++i) {
    normalised[i] = (c.x[i] - mean) / std::sqrt(variance + c.eps);
    mean_gn += normalised[i] * c.dy[i] * c.gamma[i] / 64.0;
  }
  for (std::size_t i = 0; i < 64; ++i) {
    wrong[i] += normalised[i] * mean_gn / std::sqrt(variance + c.eps);
  }
  const test::Difference dx_difference = test::Compare(wrong, g.dx, dx_tolerance);
  EXPECT_GT(dx_difference.max_abs, 10 * dx_tolerance.max_abs);
  EXPECT_GT(dx_difference.rel_l2, 10 * dx_tolerance.rel_l2);
}

// --- edges

TEST(LayerNorm, OddSizes) {
  for (const idx_t channels : {2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 65, 127, 257}) {
    ExpectMatchesReference(Case(3, channels));
  }
  for (const idx_t tokens : {1, 2, 31, 32, 33, 65}) ExpectMatchesReference(Case(tokens, 40));
}

TEST(LayerNorm, OneChannelIsBeta) {
  Context context(1);
  const Case c(4, 1);
  const Result r = RunCase(context, c);
  for (const float y : r.y) EXPECT_EQ(y, c.beta[0]);
  EXPECT_EXACTLY_ZERO(r.dx);
}

TEST(LayerNorm, EqualValuesGiveBetaWhateverTheirSize) {
  Context context(1);
  for (const float value : {0.1f, 1000.1f, -3e7f, 0.0f}) {
    for (const idx_t channels : {3, 100, 512}) {
      Case c(2, channels);
      c.eps = 1e-12f;
      c.x.assign(c.x.size(), value);
      const Result r = RunCase(context, c);
      for (std::size_t i = 0; i < r.y.size(); ++i) {
        ASSERT_NEAR(r.y[i], c.beta[i % c.beta.size()], 1e-3f) << value << ", " << channels;
      }
    }
  }
}

// Zeros in place of beta give the same values, and what is not there is not touched.
TEST(LayerNorm, WithoutBeta) {
  for (const auto& [tokens, channels] : {std::pair<idx_t, idx_t>{70, 64}, {9000, 24}, {33, 13}}) {
    Case c(tokens, channels);
    c.beta.assign(c.beta.size(), 0.0f);
    Context context(2);
    const Result with = RunCase(context, c);
    const std::array<idx_t, 2> shape = {tokens, channels};
    std::vector<float> y(c.x.size()), dx(c.x.size()), dgamma(c.gamma.size());
    const LayerNormWeights weights{Row(c.gamma), {}, c.eps};
    LayerNormForward(context, weights, {c.x.data(), shape}, {y.data(), shape});
    LayerNormBackward(context, weights, {c.x.data(), shape}, {c.dy.data(), shape},
                      {dx.data(), shape}, {Row(dgamma), {}});
    for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(y[i], with.y[i]) << i;  // -0 is 0
    EXPECT_SAME_BITS(dx, with.dx);
    EXPECT_SAME_BITS(dgamma, with.dgamma);
  }
}

// What is not wanted is not computed, and the rest has the same bits.
TEST(LayerNorm, GradientsThatAreNotWanted) {
  Context context(2);
  for (const idx_t channels : {7, 64}) {
    const Case c(300, channels);
    const Result all = RunCase(context, c);
    const std::array<idx_t, 2> shape = {c.tokens, c.channels};
    for (const bool beta : {false, true}) {
      for (const bool gamma_wanted : {false, true}) {
        for (const bool beta_wanted : {false, true}) {
          Result some;
          some.dx.assign(c.x.size(), 0.0f);
          some.dgamma.assign(c.gamma.size(), 0.0f);
          some.dbeta = some.dgamma;
          LayerNormGradients wanted{Row(some.dgamma), Row(some.dbeta)};
          if (!gamma_wanted) wanted.dgamma.data = nullptr;
          if (!beta_wanted) wanted.dbeta.data = nullptr;
          if (!beta) wanted.dbeta = {};
          const LayerNormWeights weights{Row(c.gamma), beta ? Row(c.beta) : View<const float, 1>(),
                                         c.eps};
          LayerNormBackward(context, weights, {c.x.data(), shape}, {c.dy.data(), shape},
                            {some.dx.data(), shape}, wanted);
          const std::vector<float> none(c.gamma.size(), 0.0f);
          EXPECT_EQ(some.dx, all.dx);
          EXPECT_EQ(some.dgamma, gamma_wanted ? all.dgamma : none);
          EXPECT_EQ(some.dbeta, beta && beta_wanted ? all.dbeta : none);
        }
      }
    }
  }
}

TEST(LayerNorm, StridedViewsLeaveTheGapsAlone) {
  Context context(2);
  const Case c(37, 19);
  const Result expected = RunCase(context, c);
  constexpr idx_t kStride = 23;
  const auto spread = [&](const std::vector<float>& values) {
    std::vector<float> wide(37 * kStride, kNan);
    for (idx_t i = 0; i < 37 * 19; ++i) {
      wide[static_cast<std::size_t>(i / 19 * kStride + i % 19)] =
          values[static_cast<std::size_t>(i)];
    }
    return wide;
  };
  const std::array<idx_t, 2> shape = {37, 19}, stride = {kStride, 1};
  const std::vector<float> x = spread(c.x), dy = spread(c.dy);
  std::vector<float> y = spread(c.x), dx = spread(std::vector<float>(c.x.size()));
  std::vector<float> dgamma(19), dbeta(19);
  const LayerNormWeights weights{Row(c.gamma), Row(c.beta), c.eps};
  const View<const float, 2> y_in(y.data(), shape, stride);  // in place
  LayerNormForward(context, weights, y_in, {y.data(), shape, stride});
  LayerNormBackward(context, weights, {x.data(), shape, stride}, {dy.data(), shape, stride},
                    {dx.data(), shape, stride}, {Row(dgamma), Row(dbeta)});
  EXPECT_SAME_BITS(y, spread(expected.y));
  EXPECT_SAME_BITS(dx, spread(expected.dx));
  EXPECT_SAME_BITS(dgamma, expected.dgamma);
  EXPECT_SAME_BITS(dbeta, expected.dbeta);
}

TEST(LayerNorm, GradientsAccumulate) {
  Context context(2);
  const Case c(40, 48);
  const Result once = RunCase(context, c);
  Result twice = once;
  const std::array<idx_t, 2> shape = {40, 48};
  LayerNormBackward(context, {Row(c.gamma), Row(c.beta), c.eps}, {c.x.data(), shape},
                    {c.dy.data(), shape}, {twice.dx.data(), shape},
                    {Row(twice.dgamma), Row(twice.dbeta)});
  for (std::size_t i = 0; i < once.dx.size(); ++i) {
    ASSERT_NEAR(twice.dx[i], 2 * once.dx[i], 1e-5f);
  }
  for (std::size_t i = 0; i < 48; ++i) {
    ASSERT_FLOAT_EQ(twice.dgamma[i], 2 * once.dgamma[i]);
    ASSERT_FLOAT_EQ(twice.dbeta[i], 2 * once.dbeta[i]);
  }
}

TEST(LayerNorm, NanStaysInItsRow) {
  Context context(2);
  Case c(3, 20);
  c.x[25] = kNan;
  const Result r = RunCase(context, c);
  for (std::size_t i = 0; i < 60; ++i) EXPECT_EQ(std::isnan(r.y[i]), i / 20 == 1);
}

// --- bf16

// bf16 is storage: what comes out is what fp32 gives for the widened input, rounded where it is
// stored.
TEST(LayerNorm, Bf16IsStorageOnly) {
  for (const idx_t channels : {1, 7, 48, 100}) {
    Case c(37, channels);
    std::vector<bfloat16> x, y(c.x.size()), copy(c.x.size());
    for (float& value : c.x) {
      x.push_back(ToBfloat16(value));
      value = ToFloat(x.back());
    }
    Context context(2);
    const Result want = RunCase(context, c);
    Result got = want;
    const std::array<idx_t, 2> shape = {c.tokens, c.channels};
    const LayerNormWeights weights{Row(c.gamma), Row(c.beta), c.eps};
    const View<const bfloat16, 2> in(x.data(), shape);
    got.y.assign(c.x.size(), kNan);
    LayerNormForward(context, weights, in, {got.y.data(), shape},
                     View<bfloat16, 2>(copy.data(), shape));
    EXPECT_SAME_BITS(got.y, want.y);
    LayerNormForward(context, weights, in, View<bfloat16, 2>(y.data(), shape));
    for (std::size_t i = 0; i < y.size(); ++i) {
      ASSERT_EQ(y[i].bits, ToBfloat16(want.y[i]).bits);
      ASSERT_EQ(copy[i].bits, y[i].bits);
    }
    for (auto* gradient : {&got.dx, &got.dgamma, &got.dbeta}) {
      std::fill(gradient->begin(), gradient->end(), 0.0f);
    }
    LayerNormBackward(context, weights, in, {c.dy.data(), shape}, {got.dx.data(), shape},
                      {Row(got.dgamma), Row(got.dbeta)});
    EXPECT_SAME_BITS(got.dx, want.dx);
    EXPECT_SAME_BITS(got.dgamma, want.dgamma);
    EXPECT_SAME_BITS(got.dbeta, want.dbeta);
  }
}

// --- threads

TEST(LayerNorm, SameBitsForAnyThreads) {
  const Case c(1000, 70);
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    Result r = RunCase(context, c);
    for (const auto* part : {&r.dx, &r.dgamma, &r.dbeta}) {
      r.y.insert(r.y.end(), part->begin(), part->end());
    }
    return r.y;
  });
}

// --- bad arguments

TEST(LayerNorm, BadArgumentsAreNamed) {
  Context context(1);
  std::vector<float> data(64);
  const View<float, 2> x(data.data(), {4, 8}), other(data.data(), {4, 7});
  const View<float, 1> eight(data.data(), {8}), nine(data.data(), {9});
  const auto message = [&](const LayerNormWeights& weights, const View<float, 2>& y,
                           const LayerNormGradients& gradients) -> std::string {
    try {
      LayerNormForward(context, weights, x, y);
      LayerNormBackward(context, weights, x, x, y, gradients);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return error.what();
    }
    return "nothing thrown";
  };
  const LayerNormWeights good{eight, eight};
  EXPECT_EQ(message(good, other, {eight, eight}), "layer norm: y is (4, 7), x is (4, 8)");
  EXPECT_EQ(message({nine, eight}, x, {eight, eight}),
            "layer norm: gamma has 9 values, x is (4, 8)");
  EXPECT_EQ(message({eight, nine}, x, {eight, eight}),
            "layer norm: beta has 9 values, x is (4, 8)");
  EXPECT_EQ(message(good, x, {nine, eight}), "layer norm: dgamma has 9 values, x is (4, 8)");
  EXPECT_EQ(message(good, x, {eight, nine}), "layer norm: dbeta has 9 values, x is (4, 8)");
  EXPECT_THAT(message({eight, eight, 0.0f}, x, {eight, eight}), testing::HasSubstr("eps 0"));
}

}  // namespace
}  // namespace longspan
