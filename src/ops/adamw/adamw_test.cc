#include "ops/adamw/adamw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "longspan/error.h"
#include "ops/adamw/adamw_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"
#include "tests/support/recorded_updates.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::RandomNormal;
using test::ToDouble;

constexpr float kInf = std::numeric_limits<float>::infinity();

View<float, 1> Of(std::vector<float>& values) {
  return {values.data(), {static_cast<idx_t>(values.size())}};
}

struct Trained {
  std::vector<float> w, m, v;
};

// `steps` steps from zero moments with gradients of very different sizes.
template <class Step>
void ForSteps(idx_t count, idx_t steps, AdamWSpec spec, const Step& step) {
  for (idx_t t = 1; t <= steps; ++t) {
    spec.step = t;
    const auto seed = static_cast<std::uint64_t>(50 + t);
    std::vector<float> g = RandomNormal(seed, count, t % 3 == 0 ? 10.0f : 0.01f);
    step(spec, g);
  }
}

Trained TrainKernel(Context& context, idx_t count, idx_t steps, const AdamWSpec& spec) {
  Trained s{RandomNormal(1, count), std::vector<float>(static_cast<std::size_t>(count)), {}};
  s.v = s.m;
  ForSteps(count, steps, spec, [&](const AdamWSpec& now, std::vector<float>& g) {
    AdamWStep(context, now, Of(s.w), Of(g), Of(s.m), Of(s.v));
    EXPECT_THAT(g, testing::Each(0.0f));  // zeroed on the way
  });
  return s;
}

template <class T>
ref::AdamWState<T> TrainReference(idx_t count, idx_t steps, const AdamWSpec& spec) {
  const auto w = RandomNormal(1, count);
  ref::AdamWState<T> s{{w.begin(), w.end()}, std::vector<T>(w.size()), std::vector<T>(w.size())};
  ForSteps(count, steps, spec, [&](const AdamWSpec& now, const std::vector<float>& g) {
    ref::AdamWStep<T>(now, {g.begin(), g.end()}, s);
  });
  return s;
}

AdamWSpec Spec(float decay, float scale) {
  AdamWSpec spec;
  spec.learning_rate = 0.03f;
  spec.weight_decay = decay;
  spec.gradient_scale = scale;
  return spec;
}

TEST(AdamWReference, FirstStepMovesByTheLearningRate) {
  // mhat = g, vhat = g^2: w moves by lr sign(g), whatever the size of g; decay is apart from that.
  ref::AdamWState<double> s{{2.0, 2.0}, {0.0, 0.0}, {0.0, 0.0}};
  AdamWSpec spec = Spec(0.5f, 1.0f);
  spec.eps = 0.0f;
  ref::AdamWStep<double>(spec, {1e-3, -50.0}, s);
  const double lr = static_cast<double>(0.03f);
  EXPECT_NEAR(s.w[0], 2.0 - lr * (1.0 + 0.5 * 2.0), 1e-12);
  EXPECT_NEAR(s.w[1], 2.0 - lr * (-1.0 + 0.5 * 2.0), 1e-12);
}

TEST(AdamW, OneAndTenUpdatesEqualTorchs) {
  Context context(1);
  const test::RecordedUpdates recorded("adamw");
  AdamWSpec spec = Spec(0.125f, 1.0f);
  spec.learning_rate = 0.03125f;
  spec.beta1 = 0.875f;
  spec.beta2 = 0.984375f;
  spec.eps = std::ldexp(1.0f, -27);
  const auto reference = [&]<class T>(T, idx_t updates) {
    const std::vector<float>& w = recorded.before;
    ref::AdamWState<T> s{{w.begin(), w.end()}, std::vector<T>(w.size()), std::vector<T>(w.size())};
    for (spec.step = 1; spec.step <= updates; ++spec.step) {
      const auto& g = recorded.gradients[static_cast<std::size_t>(spec.step - 1)];
      ref::AdamWStep<T>(spec, {g.begin(), g.end()}, s);
    }
    return s.w;
  };
  const auto kernel = [&](idx_t updates) {
    Trained s{recorded.before, std::vector<float>(recorded.before.size()), {}};
    s.v = s.m;
    for (spec.step = 1; spec.step <= updates; ++spec.step) {
      std::vector<float> g = recorded.gradients[static_cast<std::size_t>(spec.step - 1)];
      AdamWStep(context, spec, Of(s.w), Of(g), Of(s.m), Of(s.v));
    }
    return s.w;
  };
  test::ExpectTorchs(
      recorded, kernel, [&](idx_t updates) { return reference(0.0f, updates); },
      [&](idx_t updates) { return reference(0.0, updates); });
}

TEST(AdamW, TenStepsAgreeWithReference) {
  Context context(2);
  for (const idx_t count : {1, 3, 7, 8, 9, 17, 1000, 16384, 16391}) {
    for (const AdamWSpec& spec : {Spec(0.0f, 1.0f), Spec(0.1f, 0.25f)}) {
      const auto oracle = TrainReference<double>(count, 10, spec);
      const auto naive = TrainReference<float>(count, 10, spec);
      const Trained actual = TrainKernel(context, count, 10, spec);
      EXPECT_MATCHES(actual.w, oracle.w, test::DerivedTolerance(naive.w, oracle.w, 2.0));
      EXPECT_MATCHES(actual.m, oracle.m, test::DerivedTolerance(naive.m, oracle.m, 2.0));
      EXPECT_MATCHES(actual.v, oracle.v, test::DerivedTolerance(naive.v, oracle.v, 2.0));
    }
  }
}

TEST(AdamW, PlantedBugsBreakTheToleranceTenfold) {
  const idx_t count = 500;
  const AdamWSpec spec = Spec(0.1f, 0.5f);
  const auto oracle = TrainReference<double>(count, 10, spec);
  const auto naive = TrainReference<float>(count, 10, spec);
  auto tolerance = test::DerivedTolerance(naive.w, oracle.w, 2.0);
  tolerance.max_abs *= 10.0;
  tolerance.rel_l2 *= 10.0;
  const auto seen = [&](const ref::AdamWState<double>& wrong) {
    return !test::Compare(std::span<const double>(wrong.w), std::span<const double>(oracle.w),
                          tolerance)
                .ok;
  };
  const auto start = RandomNormal(1, count);
  // Steps counted from 0 onwards would divide by zero, so: counted from 2.
  ref::AdamWState<double> late{ToDouble(start), std::vector<double>(start.size()),
                               std::vector<double>(start.size())};
  ref::AdamWState<double> coupled = late;
  ForSteps(count, 10, spec, [&](AdamWSpec now, const std::vector<float>& g) {
    ++now.step;
    ref::AdamWStep<double>(now, ToDouble(g), late);
  });
  EXPECT_TRUE(seen(late));
  // Decay put into the gradient, as in Adam with L2.
  ForSteps(count, 10, spec, [&](AdamWSpec now, const std::vector<float>& g) {
    std::vector<double> mixed = ToDouble(g);
    for (std::size_t i = 0; i < mixed.size(); ++i) mixed[i] += 0.2 * coupled.w[i];
    now.weight_decay = 0.0f;
    ref::AdamWStep<double>(now, mixed, coupled);
  });
  EXPECT_TRUE(seen(coupled));
}

TEST(AdamW, NoGradientAndNoDecayMovesNothing) {
  Context context(1);
  std::vector<float> w = RandomNormal(2, 37), g(37), m(37), v(37);
  const std::vector<float> before = w;
  AdamWStep(context, Spec(0.0f, 1.0f), Of(w), Of(g), Of(m), Of(v));
  EXPECT_SAME_BITS(w, before);
  // Decay alone shrinks by exactly 1 - lr * decay.
  AdamWStep(context, Spec(0.5f, 1.0f), Of(w), Of(g), Of(m), Of(v));
  const auto keep = static_cast<float>(1.0 - static_cast<double>(0.03f) * 0.5);
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT_EQ(w[i], before[i] * keep);
}

TEST(AdamW, HugeAndTinyGradientsStayFinite) {
  Context context(1);
  std::vector<float> w(5, 1.0f), g = {1e18f, -1e18f, 1e-30f, -1e-42f, 0.0f}, m(5), v(5);
  AdamWStep(context, Spec(0.0f, 1.0f), Of(w), Of(g), Of(m), Of(v));
  for (const float value : w) EXPECT_NEAR(value, 1.0f, 0.0301f);
}

TEST(AdamW, NothingBehindTheEndIsTouched) {
  Context context(1);
  for (const idx_t count : {1, 5, 13}) {
    std::vector<float> arrays[4];
    for (auto& array : arrays) array.assign(32, 3.0f);
    const auto part = [&](int k) { return View<float, 1>(arrays[k].data() + 1, {count}); };
    AdamWStep(context, Spec(0.1f, 1.0f), part(0), part(1), part(2), part(3));
    for (const auto& array : arrays) {
      EXPECT_EQ(array[0], 3.0f);
      for (std::size_t i = static_cast<std::size_t>(count) + 1; i < array.size(); ++i) {
        EXPECT_EQ(array[i], 3.0f);
      }
    }
  }
}

TEST(SquaredNorm, AgreesWithDouble) {
  Context context(2);
  for (const idx_t count : {1, 2, 15, 16, 17, 16384, 16385, 100003}) {
    const auto x = RandomNormal(3, count, 7.0f);
    long double expected = 0.0L;
    for (const float value : x) expected += static_cast<long double>(value) * value;
    const double actual = SquaredNorm(context, {x.data(), {count}});
    EXPECT_NEAR(actual, static_cast<double>(expected), 1e-13 * static_cast<double>(expected));
  }
  EXPECT_EQ(SquaredNorm(context, {nullptr, {0}}), 0.0);
}

TEST(SquaredNorm, IsNotFiniteWhenAnElementIsNot) {
  Context context(1);
  for (const float bad : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN()}) {
    for (const std::size_t at : {0, 31, 40}) {
      std::vector<float> x(41, 1.0f);
      x[at] = bad;
      EXPECT_FALSE(std::isfinite(SquaredNorm(context, {x.data(), {41}})));
    }
  }
  const std::vector<float> largest(41, std::numeric_limits<float>::max());
  EXPECT_TRUE(std::isfinite(SquaredNorm(context, {largest.data(), {41}})));
}

TEST(AdamW, SameBitsForAnyThreads) {
  test::ExpectSameBitsForAnyThreads([](Context& context) {
    const Trained s = TrainKernel(context, 150000, 2, Spec(0.1f, 0.5f));
    std::vector<float> all = s.w;
    all.insert(all.end(), s.m.begin(), s.m.end());
    all.insert(all.end(), s.v.begin(), s.v.end());
    const double norm = SquaredNorm(context, {s.w.data(), {150000}});
    const auto bits = std::bit_cast<std::uint64_t>(norm);
    all.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    all.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits >> 32)));
    return all;
  });
}

template <class Call>
std::string MessageOf(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kUsage);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

TEST(AdamW, BadArgumentsNameTheValues) {
  using testing::AllOf;
  using testing::HasSubstr;
  Context context(1);
  std::vector<float> a(8), b(8), c(8), d(8), shorter(7);
  const auto with = [&](auto change) {
    AdamWSpec spec;
    change(spec);
    return MessageOf([&] { AdamWStep(context, spec, Of(a), Of(b), Of(c), Of(d)); });
  };
  EXPECT_THAT(with([](AdamWSpec& s) { s.step = 0; }), HasSubstr("step 0"));
  EXPECT_THAT(with([](AdamWSpec& s) { s.beta1 = 1.0f; }), HasSubstr("betas 1 and 0.999"));
  EXPECT_THAT(with([](AdamWSpec& s) { s.learning_rate = kInf; }), HasSubstr("learning rate inf"));
  EXPECT_THAT(with([](AdamWSpec& s) { s.weight_decay = -1.0f; }), HasSubstr("weight decay -1"));
  EXPECT_THAT(MessageOf([&] { AdamWStep(context, {}, Of(a), Of(shorter), Of(c), Of(d)); }),
              AllOf(HasSubstr("gradient has 7"), HasSubstr("not 8")));
  EXPECT_THAT(MessageOf([&] {
                const View<float, 1> strided(d.data(), {4}, {2});
                AdamWStep(context, {}, {a.data(), {4}}, {b.data(), {4}}, {c.data(), {4}}, strided);
              }),
              AllOf(HasSubstr("second moment"), HasSubstr("stride 2")));
}

}  // namespace
}  // namespace longspan
