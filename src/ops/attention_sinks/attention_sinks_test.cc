// Sinks against attention whose softmax has one more key, and its gradient by complex step.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/bfloat16.h"
#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/attention_sinks/attention_sinks_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan::test {
namespace {

std::vector<double> Doubles(const std::vector<float>& x) { return {x.begin(), x.end()}; }

struct SinkCase {
  ref::SinkShape shape;
  std::vector<float> scores, values, sinks, dout;

  explicit SinkCase(const ref::SinkShape& s)
      : shape(s),
        scores(RandomNormal(1, s.B * s.H * s.T * s.keys)),
        values(RandomNormal(2, s.B * s.H * s.keys * s.D)),
        sinks(RandomNormal(3, s.H)),
        dout(RandomNormal(4, s.B * s.H * s.T * s.D)) {}

  std::array<idx_t, 4> Extent() const { return {shape.B, shape.H, shape.T, shape.D}; }
  std::array<idx_t, 3> Rows() const { return {shape.B, shape.H, shape.T}; }

  // The reference in numbers of type T.
  template <class T>
  void Reference(bool with_sinks, std::vector<T>* out, std::vector<T>* lse) const {
    const std::vector<T> a(scores.begin(), scores.end()), v(values.begin(), values.end());
    const std::vector<T> z(sinks.begin(), sinks.end());
    ref::SinkAttention<T>(shape, a.data(), v.data(), with_sinks ? z : std::vector<T>(), out, lse);
  }
};

TEST(SinkReference, GradientByComplexStep) {
  const SinkCase c({2, 3, 4, 5, 3});
  const std::vector<double> scores = Doubles(c.scores), values = Doubles(c.values);
  const std::vector<double> sinks = Doubles(c.sinks), dout = Doubles(c.dout);
  const auto loss = [&](std::span<const Complex> in) {
    const std::vector<Complex> a(scores.begin(), scores.end()), v(values.begin(), values.end());
    std::vector<Complex> out, lse;
    ref::SinkAttention<Complex>(c.shape, a.data(), v.data(), {in.begin(), in.end()}, &out, &lse);
    Complex total = 0.0;
    for (std::size_t i = 0; i < out.size(); ++i) total += out[i] * dout[i];
    return total;
  };
  const auto gradient =
      ref::SinkGradient<double>(c.shape, scores.data(), values.data(), sinks, dout.data());
  EXPECT_EQ(CheckGradient(loss, sinks, gradient), "");
}

TEST(Sinks, AreKeysOfTheSoftmax) {
  for (const idx_t T : {1, 7, 300}) {
    for (const idx_t D : {1, 5, 16, 64, 100}) {
      SCOPED_TRACE(testing::Message() << T << " tokens, " << D);
      const SinkCase c({2, 3, T, 9, D});
      std::vector<float> out, lse, naive_out, naive_lse;
      c.Reference<float>(false, &out, &lse);
      c.Reference<float>(true, &naive_out, &naive_lse);
      std::vector<double> want_out, want_lse;
      c.Reference<double>(true, &want_out, &want_lse);
      Context context(2);
      const AttentionSaved saved{{out.data(), c.Extent()}, {lse.data(), c.Rows()}};
      const View<const float, 1> sinks(c.sinks.data(), {c.shape.H});
      SinkForward(context, sinks, saved);
      EXPECT_MATCHES(out, want_out, DerivedTolerance(naive_out, want_out, 2));
      EXPECT_MATCHES(lse, want_lse, DerivedTolerance(naive_lse, want_lse, 2));

      std::vector<float> dsinks(static_cast<std::size_t>(c.shape.H));
      const View<const float, 4> dout(c.dout.data(), c.Extent());
      SinkBackward(context, sinks, saved, dout, {dsinks.data(), {c.shape.H}});
      const auto want =
          ref::SinkGradient<double>(c.shape, Doubles(c.scores).data(), Doubles(c.values).data(),
                                    Doubles(c.sinks), Doubles(c.dout).data());
      const auto naive = ref::SinkGradient<float>(c.shape, c.scores.data(), c.values.data(),
                                                  c.sinks, c.dout.data());
      EXPECT_MATCHES(dsinks, want, DerivedTolerance(naive, want, 3));
      std::vector<float> twice = dsinks;  // it accumulates
      SinkBackward(context, sinks, saved, dout, {twice.data(), {c.shape.H}});
      for (std::size_t h = 0; h < twice.size(); ++h) EXPECT_EQ(twice[h], 2.0f * dsinks[h]);
    }
  }
}

TEST(Sinks, WorkOnColumnsOfHeadsAndBf16) {
  const SinkCase c({2, 3, 40, 9, 20});
  std::vector<float> plain, lse;
  c.Reference<float>(false, &plain, &lse);
  // Heads as columns of (T, H D), as bf16, between columns that must stay.
  const idx_t D = c.shape.D, H = c.shape.H, T = c.shape.T, stride = H * D + 3;
  std::vector<bfloat16> out(static_cast<std::size_t>(2 * T * stride), ToBfloat16(7.0f));
  const std::array<idx_t, 4> steps = {T * stride, D, stride, 1};
  const View<bfloat16, 4> view(out.data(), c.Extent(), steps);
  std::vector<bfloat16> dout;
  for (const float x : c.dout) dout.push_back(ToBfloat16(x));
  for (idx_t i = 0; i < static_cast<idx_t>(plain.size()); ++i) {
    view(i / D / T / H, i / D / T % H, i / D % T, i % D) =
        ToBfloat16(plain[static_cast<std::size_t>(i)]);
  }
  Context context(2);
  const Bf16AttentionSaved saved{view, {lse.data(), c.Rows()}};
  const View<const float, 1> sinks(c.sinks.data(), {H});
  SinkForward(context, sinks, saved);
  std::vector<double> want, want_lse;
  c.Reference<double>(true, &want, &want_lse);
  for (idx_t i = 0; i < static_cast<idx_t>(plain.size()); ++i) {
    const double expected = want[static_cast<std::size_t>(i)];
    ASSERT_NEAR(ToFloat(view(i / D / T / H, i / D / T % H, i / D % T, i % D)), expected,
                std::abs(expected) / 128 + 1e-6);  // two roundings to eight bits
  }
  for (idx_t t = 0; t < T; ++t) {
    for (idx_t i = H * D; i < stride; ++i) {
      ASSERT_EQ(ToFloat(out[static_cast<std::size_t>(t * stride + i)]), 7.0f);
    }
  }
  std::vector<float> dsinks(static_cast<std::size_t>(H));
  SinkBackward(context, sinks, saved, View<const bfloat16, 4>(dout.data(), c.Extent()),
               {dsinks.data(), {H}});
  const auto gradient =
      ref::SinkGradient<double>(c.shape, Doubles(c.scores).data(), Doubles(c.values).data(),
                                Doubles(c.sinks), Doubles(c.dout).data());
  EXPECT_MATCHES(dsinks, gradient, (Tolerance{0.2, 0.02}));
}

TEST(Sinks, RowsThatSeeNothingStayZero) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> out = {0.0f, 0.0f, 3.0f, 4.0f}, lse = {-kInf, 0.5f};
  const std::vector<float> sinks = {0.25f}, none = {-kInf};
  std::vector<float> dout = {std::nanf(""), kInf, 1.0f, 1.0f}, dsinks = {0.0f};
  Context context(1);
  const AttentionSaved saved{{out.data(), {1, 1, 2, 2}}, {lse.data(), {1, 1, 2}}};
  const View<const float, 4> gradient(dout.data(), {1, 1, 2, 2});
  SinkForward(context, {none.data(), {1}}, saved);  // no sink at all: nothing changes
  EXPECT_EQ(out, (std::vector<float>{0.0f, 0.0f, 3.0f, 4.0f}));
  EXPECT_EQ(lse, (std::vector<float>{-kInf, 0.5f}));
  SinkBackward(context, {none.data(), {1}}, saved, gradient, {dsinks.data(), {1}});
  EXPECT_EQ(dsinks[0], 0.0f);
  SinkForward(context, {sinks.data(), {1}}, saved);
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(lse[0], 0.25f);
  const double after = std::log(std::exp(0.5) + std::exp(0.25));
  EXPECT_NEAR(lse[1], after, 1e-6);
  EXPECT_NEAR(out[3], 4.0 * std::exp(0.5 - after), 1e-6);
  SinkBackward(context, {sinks.data(), {1}}, saved, gradient, {dsinks.data(), {1}});
  EXPECT_NEAR(dsinks[0], -std::exp(0.25 - after) * 7.0 * std::exp(0.5 - after), 1e-5);
}

TEST(Sinks, ThreadsGetTheSameBits) {
  const SinkCase c({2, 3, 1000, 2, 16});
  ExpectSameBitsForAnyThreads([&](Context& context) {
    std::vector<float> out, lse, dsinks(static_cast<std::size_t>(c.shape.H));
    c.Reference<float>(false, &out, &lse);
    const AttentionSaved saved{{out.data(), c.Extent()}, {lse.data(), c.Rows()}};
    const View<const float, 1> sinks(c.sinks.data(), {c.shape.H});
    SinkForward(context, sinks, saved);
    SinkBackward(context, sinks, saved, View<const float, 4>(c.dout.data(), c.Extent()),
                 {dsinks.data(), {c.shape.H}});
    out.insert(out.end(), lse.begin(), lse.end());
    out.insert(out.end(), dsinks.begin(), dsinks.end());
    return out;
  });
}

TEST(Sinks, WhatDoesNotFitIsRefused) {
  std::vector<float> x(64);
  Context context(1);
  const AttentionSaved saved{{x.data(), {1, 2, 4, 3}}, {x.data(), {1, 2, 4}}};
  EXPECT_THROW(SinkForward(context, {x.data(), {3}}, saved), Error);
  EXPECT_THROW(
      SinkForward(context, {x.data(), {2}}, AttentionSaved{saved.out, {x.data(), {1, 2, 5}}}),
      Error);
  EXPECT_THROW(SinkForward(context, {x.data(), {2}}, {saved.out, saved.lse, saved.lse}), Error);
  EXPECT_THROW(SinkBackward(context, {x.data(), {2}}, saved,
                            View<const float, 4>(x.data(), {1, 2, 3, 4}), {x.data(), {2}}),
               Error);
}

}  // namespace
}  // namespace longspan::test
