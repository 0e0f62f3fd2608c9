// The feed-forward block with products of bf16, against double on the same rounded inputs.
#include <gtest/gtest.h>

#include <cmath>

#include "base/bfloat16.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/feed_forward/feed_forward_ref.h"
#include "ops/feed_forward/feed_forward_test.h"
#include "tests/support/bf16_attention.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

using test::RandomNormal;

float RoundToBf16(float value) { return ToFloat(ToBfloat16(value)); }

std::vector<bfloat16> Bf16Numbers(std::vector<float>* values) {
  std::vector<bfloat16> rounded;
  for (float& value : *values) {
    rounded.push_back(ToBfloat16(value));
    value = ToFloat(rounded.back());
  }
  return rounded;
}

// x, w1 and w2 hold bf16 values.
struct Bf16Case {
  idx_t T, C, F;
  FeedForwardSpec spec;
  FeedForwardReferenceInputs<float> in;
  std::vector<float> dy;
  std::vector<bfloat16> x, w1, w2;

  Bf16Case(idx_t t, idx_t c, idx_t f, const FeedForwardSpec& s, std::uint64_t seed = 1)
      : T(t), C(c), F(f), spec(s) {
    in.x = RandomNormal(seed, T * C);
    in.w1 = RandomNormal(seed + 20, F * C, 1.0f / std::sqrt(static_cast<float>(C)));
    in.b1 = RandomNormal(seed + 40, F, 0.5f);
    in.w2 = RandomNormal(seed + 60, C * F, 1.0f / std::sqrt(static_cast<float>(F)));
    in.b2 = RandomNormal(seed + 80, C, 0.5f);
    dy = RandomNormal(seed + 100, T * C);
    x = Bf16Numbers(&in.x);
    w1 = Bf16Numbers(&in.w1);
    w2 = Bf16Numbers(&in.w2);
  }
};

// f(x), then the gradients of sum(f dy).
std::vector<std::vector<float>> RunKernel(Context& context, const Bf16Case& c) {
  const idx_t T = c.T, C = c.C, F = c.F;
  std::vector<float> y(c.in.x.size()), dx(y.size()), dw1(c.w1.size()), db1(c.in.b1.size());
  std::vector<float> dw2(c.w2.size()), db2(c.in.b2.size());
  std::vector<bfloat16> kept(static_cast<std::size_t>(T * F));
  const Bf16FeedForwardWeights weights{
      {c.w1.data(), {F, C}}, {c.in.b1.data(), {F}}, {c.w2.data(), {C, F}}, {c.in.b2.data(), {C}}};
  const View<const bfloat16, 2> x(c.x.data(), {T, C});
  FeedForwardForward(context, c.spec, weights, x, {y.data(), {T, C}},
                     View<bfloat16, 2>(kept.data(), {T, F}));
  std::vector<float> without(y.size());
  FeedForwardForward(context, c.spec, weights, x, {without.data(), {T, C}});
  EXPECT_SAME_BITS(without, y);
  FeedForwardBackwardKept(
      context, c.spec, weights, x, View<const bfloat16, 2>(kept.data(), {T, F}),
      {c.dy.data(), {T, C}}, {dx.data(), {T, C}},
      {{dw1.data(), {F, C}}, {db1.data(), {F}}, {dw2.data(), {C, F}}, {db2.data(), {C}}});
  return {y, dx, dw1, db1, dw2, db2};
}

// As a framework computes in bf16: every tensor that one operation hands another is rounded.
std::vector<std::vector<float>> Naive(const Bf16Case& c) {
  const auto C = static_cast<std::size_t>(c.C), F = static_cast<std::size_t>(c.F);
  const auto T = static_cast<std::size_t>(c.T);
  std::vector<float> pre = FeedForwardHiddenReference(c.in), y(T * C), dx(T * C);
  std::vector<float> dw1(F * C), db1(F), dw2(F * C), db2(C), a(T * F), dh(T * F), dout(T * C);
  for (std::size_t i = 0; i < pre.size(); ++i) {
    const float h =
        RoundToBf16(RoundToBf16(pre[i]) * DropoutFactorReference<float>(c.spec.hidden, i));
    a[i] = RoundToBf16(ActivationReference(c.spec.activation, h));
    dh[i] = ActivationSlopeReference(c.spec.activation, h) *
            DropoutFactorReference<float>(c.spec.hidden, i);
  }
  for (std::size_t i = 0; i < dout.size(); ++i) {
    dout[i] = RoundToBf16(RoundToBf16(c.dy[i]) * DropoutFactorReference<float>(c.spec.output, i));
  }
  for (std::size_t t = 0; t < T; ++t) {
    for (std::size_t i = 0; i < C; ++i) {
      float sum = c.in.b2[i];
      for (std::size_t f = 0; f < F; ++f) sum += a[t * F + f] * c.in.w2[i * F + f];
      y[t * C + i] =
          RoundToBf16(RoundToBf16(sum) * DropoutFactorReference<float>(c.spec.output, t * C + i));
      db2[i] += dout[t * C + i];
    }
    for (std::size_t f = 0; f < F; ++f) {
      float da = 0.0f;
      for (std::size_t i = 0; i < C; ++i) {
        da += dout[t * C + i] * c.in.w2[i * F + f];
        dw2[i * F + f] += dout[t * C + i] * a[t * F + f];
      }
      dh[t * F + f] = RoundToBf16(RoundToBf16(da) * dh[t * F + f]);
      db1[f] += dh[t * F + f];
      for (std::size_t i = 0; i < C; ++i) {
        dw1[f * C + i] += dh[t * F + f] * c.in.x[t * C + i];
        dx[t * C + i] += dh[t * F + f] * c.in.w1[f * C + i];
      }
    }
  }
  std::vector<std::vector<float>> all = {y, dx, dw1, db1, dw2, db2};
  for (auto& part : all) {
    for (float& value : part) value = RoundToBf16(value);
  }
  return all;
}

std::vector<std::vector<double>> Oracle(const Bf16Case& c) {
  return test::FeedForwardOracle(c.spec, c.in, c.dy);
}

std::vector<test::Tolerance> ComputeTolerances(const Bf16Case& c) {
  std::vector<test::Tolerance> most(6);
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const Bf16Case input(c.T, c.C, c.F, c.spec, seed);
    const auto naive = Naive(input);
    const auto oracle = Oracle(input);
    for (std::size_t part = 0; part < most.size(); ++part) {
      test::RaiseTolerance(naive[part], oracle[part], part == 0 ? 2 : 3, &most[part]);
    }
  }
  return most;
}

std::vector<test::Tolerance> ToleranceOf(const Bf16Case& c) {
  return test::RememberTolerances(test::FeedForwardKey("feed forward bf16", c.spec, c.in, c.dy),
                                  [&] { return ComputeTolerances(c); });
}

void CheckCase(const Bf16Case& c) {
  SCOPED_TRACE(testing::Message() << "T " << c.T << ", C " << c.C << ", F " << c.F << ", "
                                  << ActivationName(c.spec.activation));
  const auto tolerance = ToleranceOf(c);
  const auto oracle = Oracle(c);
  Context context(1);
  const auto y = RunKernel(context, c);
  for (std::size_t part = 0; part < y.size(); ++part) {
    const auto difference =
        test::Compare(std::span<const float>(y[part]), oracle[part], tolerance[part]);
    EXPECT_TRUE(difference.ok) << test::kFeedForwardParts[part] << ": " << difference.reason;
  }
  for (const int threads : {2, 3, 7, 8}) {
    Context more(threads);
    const auto other = RunKernel(more, c);
    for (std::size_t part = 0; part < y.size(); ++part) EXPECT_SAME_BITS(other[part], y[part]);
  }
}

TEST(FeedForwardBf16, ActivationsAndSizes) {
  for (const Activation activation : {Activation::kRelu, Activation::kGelu, Activation::kGeluNew,
                                      Activation::kSilu, Activation::kMish, Activation::kLaplace}) {
    CheckCase(Bf16Case(50, 24, 64, {activation, {}, {}}));
    CheckCase(Bf16Case(50, 24, 64, {activation, {0.2f, 111}, {0.3f, 222}}));
  }
  for (const idx_t n : {1, 3, 9, 17, 33}) {
    CheckCase(Bf16Case(40 + n, 13 + n, 31, {Activation::kGelu, {0.2f, 111}, {}}));
    CheckCase(Bf16Case(40, 26, 20 + n, {Activation::kGelu, {}, {0.3f, 222}}));
  }
  CheckCase(Bf16Case(300, 4, 16384, {Activation::kGelu, {}, {}}));  // two slabs
}

TEST(FeedForwardBf16, ABiasForgottenIsFound) {
  const Bf16Case c(50, 24, 64, {Activation::kGelu, {}, {}});
  const auto tolerance = ToleranceOf(c);
  const auto oracle = Oracle(c);
  Bf16Case wrong = c;
  std::fill(wrong.in.b1.begin(), wrong.in.b1.end(), 0.0f);
  Context context(1);
  const auto y = RunKernel(context, wrong);
  for (std::size_t part = 0; part + 1 < y.size(); ++part) {  // db2 is the sum of dy
    const auto difference =
        test::Compare(std::span<const float>(y[part]), oracle[part], tolerance[part]);
    EXPECT_GT(difference.max_abs, 10 * tolerance[part].max_abs) << test::kFeedForwardParts[part];
  }
}

}  // namespace
}  // namespace longspan
