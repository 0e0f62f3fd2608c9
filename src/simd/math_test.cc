// The elementary functions against libm in double: every exponent, random values, special values.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/math_test.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "longspan/types.h"
#include "simd/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longspan {
namespace HWY_NAMESPACE {

// y[i] = function(x[i]); count is a multiple of 16.
#define LONGSPAN_APPLY(Function)                                          \
  void Apply##Function(const float* x, float* y, idx_t count) {           \
    const hn::ScalableTag<float> d;                                       \
    for (idx_t i = 0; i < count; i += static_cast<idx_t>(hn::Lanes(d))) { \
      hn::StoreU(Function(d, hn::LoadU(d, x + i)), d, y + i);             \
    }                                                                     \
  }
LONGSPAN_APPLY(Exp)
LONGSPAN_APPLY(ExpNonPositive)
LONGSPAN_APPLY(ExpWeight)
LONGSPAN_APPLY(Exp2Weight)
LONGSPAN_APPLY(Exp2Small)
LONGSPAN_APPLY(Log)
LONGSPAN_APPLY(Tanh)
LONGSPAN_APPLY(Sigmoid)
LONGSPAN_APPLY(Erf)
LONGSPAN_APPLY(NormalCdf)
#undef LONGSPAN_APPLY

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace longspan
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "longspan/context.h"

namespace longspan {
namespace {

HWY_EXPORT(ApplyExp);
HWY_EXPORT(ApplyExpNonPositive);
HWY_EXPORT(ApplyExpWeight);
HWY_EXPORT(ApplyExp2Weight);
HWY_EXPORT(ApplyExp2Small);
HWY_EXPORT(ApplyLog);
HWY_EXPORT(ApplyTanh);
HWY_EXPORT(ApplySigmoid);
HWY_EXPORT(ApplyErf);
HWY_EXPORT(ApplyNormalCdf);

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kSmallestNormal = 0x1p-126;

using Apply = void (*)(const float*, float*, idx_t);
using Oracle = double (*)(double);

// One sample of every 4099 bit patterns (all exponents, both signs, NaNs), and a million uniform
// values in [-range, range].
std::vector<float> Samples(float range) {
  std::vector<float> x;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 4099) {
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  Rng rng(7);
  for (int i = 0; i < 1000000; ++i) {
    x.push_back(static_cast<float>((2.0 * rng.Uniform() - 1.0) * range));
  }
  x.resize((x.size() + 15) / 16 * 16, 0.25f);
  return x;
}

// Size of the last fp32 place at `value`.
double Ulp(double value) {
  const int exponent = value == 0.0 ? -126 : std::max(std::ilogb(value), -126);
  return std::ldexp(1.0, exponent - 23);
}

struct Worst {
  double ulp = 0.0, absolute = 0.0;
  float at_ulp = 0.0f;
};

// Largest error over the samples that `in` accepts. NaN inputs must give NaN, and every result
// that overflows fp32 must be infinite.
template <class In>
Worst LargestError(Apply apply, Oracle oracle, float range, const In& in) {
  const std::vector<float> x = Samples(range);
  std::vector<float> y(x.size());
  apply(x.data(), y.data(), static_cast<idx_t>(x.size()));
  Worst worst;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!in(x[i])) continue;
    const double expected = oracle(static_cast<double>(x[i]));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(y[i])) << x[i];
      continue;
    }
    if (std::isinf(static_cast<float>(expected))) {
      EXPECT_EQ(y[i], static_cast<float>(expected)) << x[i];
      continue;
    }
    const double error = std::abs(static_cast<double>(y[i]) - expected);
    EXPECT_FALSE(std::isnan(error)) << x[i];
    worst.absolute = std::max(worst.absolute, error);
    if (error / Ulp(expected) > worst.ulp) {
      worst.ulp = error / Ulp(expected);
      worst.at_ulp = x[i];
    }
  }
  testing::Test::RecordProperty("ulp", std::to_string(worst.ulp));
  return worst;
}

bool Any(float) { return true; }

// The dispatched function, resolved after Context's constructor has applied the ISA's cap.
#define LONGSPAN_FUNCTION(Function) \
  [](const float* x, float* y, idx_t n) { HWY_DYNAMIC_DISPATCH(Apply##Function)(x, y, n); }

class Math : public testing::Test {
 protected:
  static float One(Apply apply, float x) {
    std::vector<float> in(16, x), out(16);
    apply(in.data(), out.data(), 16);
    for (const float y : out) EXPECT_EQ(std::bit_cast<int>(y), std::bit_cast<int>(out[0]));
    return out[0];
  }
  // What every e^x for x <= 0 does where it is 0, 1 or no number.
  static void ExpectEndsOfNonPositive(Apply exp) {
    const auto tiny = [](float x) { return x <= 0.0f && std::exp(double{x}) < kSmallestNormal; };
    EXPECT_LE(LargestError(
                  exp, [](double) { return 0.0; }, 110.0f, tiny)
                  .absolute,
              0.0);
    EXPECT_EQ(One(exp, 0.0f), 1.0f);
    EXPECT_EQ(One(exp, -kInf), 0.0f);
    EXPECT_TRUE(std::isnan(One(exp, kNan)));
  }
  // Both powers of 2 on the samples in [-126, 126].
  static void ExpectPowersOfTwo(Apply power) {
    const std::vector<float> x = Samples(126.0f);
    std::vector<float> y(x.size());
    power(x.data(), y.data(), static_cast<idx_t>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (!(std::abs(x[i]) <= 126.0f)) continue;
      EXPECT_LE(std::abs(double{y[i]} / std::exp2(double{x[i]}) - 1.0), 2e-7) << x[i];
    }
    for (const float whole : {-126.0f, -1.0f, -0.0f, 0.0f, 1.0f, 126.0f}) {
      EXPECT_EQ(One(power, whole), std::exp2(whole)) << whole;
    }
    EXPECT_TRUE(std::isnan(One(power, kNan)));
    EXPECT_TRUE(std::isnan(One(power, std::bit_cast<float>(0x7FFFFFFF))));
  }
  Context context_{1};
};

TEST_F(Math, ExpStaysWithinTwoUlp) {
  EXPECT_LE(LargestError(LONGSPAN_FUNCTION(Exp), std::exp, 110.0f, Any).ulp, 2.0);
}

TEST_F(Math, ExpSpecialValues) {
  const Apply exp = LONGSPAN_FUNCTION(Exp);
  EXPECT_EQ(One(exp, -kInf), 0.0f);
  EXPECT_EQ(One(exp, -1e30f), 0.0f);
  EXPECT_EQ(One(exp, -104.5f), 0.0f);
  EXPECT_EQ(One(exp, kInf), kInf);
  EXPECT_EQ(One(exp, 88.73f), kInf);
  EXPECT_LT(One(exp, 88.72f), kInf);
  EXPECT_EQ(One(exp, 0.0f), 1.0f);
  EXPECT_EQ(One(exp, -0.0f), 1.0f);
  EXPECT_TRUE(std::isnan(One(exp, kNan)));
  EXPECT_TRUE(std::isnan(One(exp, -kNan)));
}

TEST_F(Math, ExpNonPositiveStaysWithinTwoUlpOrIsZero) {
  const Apply exp = LONGSPAN_FUNCTION(ExpNonPositive);
  const auto normal = [](float x) { return x <= 0.0f && std::exp(double{x}) >= kSmallestNormal; };
  EXPECT_LE(LargestError(exp, std::exp, 90.0f, normal).ulp, 2.0);
  ExpectEndsOfNonPositive(exp);
}

TEST_F(Math, ExpWeightStaysWithinItsErrorOrIsZero) {
  const Apply exp = LONGSPAN_FUNCTION(ExpWeight);
  const std::vector<float> x = Samples(90.0f);
  std::vector<float> y(x.size());
  exp(x.data(), y.data(), static_cast<idx_t>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = std::exp(double{x[i]});
    if (x[i] > 80.0f || !(expected >= kSmallestNormal)) continue;
    EXPECT_LE(std::abs(double{y[i]} / expected - 1.0), 2e-7 + 1.4e-8 * std::abs(double{x[i]}))
        << x[i];
  }
  ExpectEndsOfNonPositive(exp);
  EXPECT_TRUE(std::isnan(One(exp, std::bit_cast<float>(0x7FC00001))));
}

TEST_F(Math, PowersOfTwoStayWithinTheirError) {
  ExpectPowersOfTwo(LONGSPAN_FUNCTION(Exp2Small));
  const Apply weight = LONGSPAN_FUNCTION(Exp2Weight);
  ExpectPowersOfTwo(weight);
  for (const float vanishing : {std::nextafter(-126.0f, -127.0f), -127.5f, -1e9f, -kInf}) {
    EXPECT_EQ(One(weight, vanishing), 0.0f) << vanishing;
  }
}

TEST_F(Math, LogStaysWithinTwoUlp) {
  const Apply log = LONGSPAN_FUNCTION(Log);
  const auto positive = [](float x) { return x > 0.0f; };
  EXPECT_LE(LargestError(log, std::log, 3.0f, positive).ulp, 2.0);
  EXPECT_EQ(One(log, 1.0f), 0.0f);
  EXPECT_EQ(One(log, 0.0f), -kInf);
  EXPECT_EQ(One(log, -0.0f), -kInf);
  EXPECT_EQ(One(log, kInf), kInf);
  EXPECT_TRUE(std::isnan(One(log, -1.0f)));
  EXPECT_TRUE(std::isnan(One(log, -kInf)));
  EXPECT_TRUE(std::isnan(One(log, kNan)));
}

TEST_F(Math, TanhStaysWithinThreeUlp) {
  const Apply tanh = LONGSPAN_FUNCTION(Tanh);
  EXPECT_LE(LargestError(tanh, std::tanh, 12.0f, Any).ulp, 3.0);
  EXPECT_EQ(One(tanh, kInf), 1.0f);
  EXPECT_EQ(One(tanh, -kInf), -1.0f);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(One(tanh, -0.0f)), 0x80000000u);
}

TEST_F(Math, SigmoidStaysWithinFourUlp) {
  const Apply sigmoid = LONGSPAN_FUNCTION(Sigmoid);
  const Oracle oracle = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
  const auto normal = [](float x) { return !(x < -87.3f); };
  EXPECT_LE(LargestError(sigmoid, oracle, 100.0f, normal).ulp, 4.0);
  EXPECT_LE(LargestError(sigmoid, oracle, 100.0f, [](float x) { return x < -87.3f; }).absolute,
            1.3e-38);
  EXPECT_EQ(One(sigmoid, -kInf), 0.0f);
  EXPECT_EQ(One(sigmoid, kInf), 1.0f);
  EXPECT_TRUE(std::isnan(One(sigmoid, kNan)));
}

TEST_F(Math, ErfStaysWithinTwoUlp) {
  const Apply erf = LONGSPAN_FUNCTION(Erf);
  const Worst worst = LargestError(erf, std::erf, 5.0f, Any);
  EXPECT_LE(worst.ulp, 2.0);
  EXPECT_LE(worst.absolute, 1.3e-7);
  EXPECT_EQ(One(erf, kInf), 1.0f);
  EXPECT_EQ(One(erf, -kInf), -1.0f);
  EXPECT_TRUE(std::isnan(One(erf, kNan)));
}

TEST_F(Math, NormalCdfStaysWithinItsError) {
  const Apply cdf = LONGSPAN_FUNCTION(NormalCdf);
  const Oracle oracle = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  EXPECT_LE(LargestError(cdf, oracle, 7.0f, Any).absolute, 1.3e-7);
  EXPECT_EQ(One(cdf, 0.0f), 0.5f);
  EXPECT_GT(One(cdf, -5.6f), 0.0f);
  for (const float far : {std::nextafter(-5.6f, -6.0f), -100.0f, -1e30f, -kInf}) {
    EXPECT_EQ(One(cdf, far), 0.0f) << far;
    EXPECT_EQ(One(cdf, -far), 1.0f) << far;
  }
  EXPECT_TRUE(std::isnan(One(cdf, kNan)));
}

}  // namespace
}  // namespace longspan
#endif  // HWY_ONCE
