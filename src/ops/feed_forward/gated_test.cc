// The gated form of the feed-forward block: reference, kernel, bf16.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/bfloat16.h"
#include "longspan/error.h"
#include "ops/feed_forward/feed_forward.h"
#include "ops/feed_forward/feed_forward_ref.h"
#include "ops/feed_forward/feed_forward_test.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

template <class T>
using GatedInputs = FeedForwardReferenceInputs<T>;

constexpr Activation kGateActivations[] = {
    Activation::kRelu,    Activation::kGelu,      Activation::kGeluNew,  Activation::kSilu,
    Activation::kTanh,    Activation::kSigmoid,   Activation::kIdentity, Activation::kRelu2,
    Activation::kMish,    Activation::kQuickGelu, Activation::kRelu6,    Activation::kLeakyRelu,
    Activation::kLaplace, Activation::kGelu10};

FeedForwardSpec GatedSpec(Activation activation, bool dropout = true) {
  FeedForwardSpec spec{activation, {}, {}, 0, true};
  if (dropout) {
    spec.hidden = {0.2f, 111};
    spec.output = {0.3f, 222};
  }
  return spec;
}

template <class To, class From>
std::vector<To> As(const std::vector<From>& v) {
  return {v.begin(), v.end()};
}
template <class To, class From>
GatedInputs<To> InputsAs(const GatedInputs<From>& in) {
  return {As<To>(in.x), As<To>(in.w1), As<To>(in.b1), As<To>(in.w2), As<To>(in.b2)};
}

template <class T>
std::vector<T> Joined(const GatedInputs<T>& in) {
  std::vector<T> all;
  for (const auto* part : {&in.x, &in.w1, &in.b1, &in.w2, &in.b2}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  return all;
}

struct GatedCase {
  idx_t T, C, F;
  FeedForwardSpec spec;
  GatedInputs<float> in;
  std::vector<float> dy;

  GatedCase(idx_t t, idx_t c, idx_t f, const FeedForwardSpec& s) : T(t), C(c), F(f), spec(s) {
    in.x = test::RandomNormal(1, T * C);
    in.w1 = test::RandomNormal(2, 2 * F * C, 1.0f / std::sqrt(static_cast<float>(C)));
    in.b1 = test::RandomNormal(3, 2 * F, 0.5f);
    in.w2 = test::RandomNormal(4, C * F, 1.0f / std::sqrt(static_cast<float>(F)));
    in.b2 = test::RandomNormal(5, C, 0.5f);
    dy = test::RandomNormal(6, T * C);
  }
  FeedForwardWeights Weights() const {
    return {{in.w1.data(), {2 * F, C}},
            {in.b1.data(), {2 * F}},
            {in.w2.data(), {C, F}},
            {in.b2.data(), {C}}};
  }
  View<const float, 2> X() const { return {in.x.data(), {T, C}}; }
  std::vector<float> Forward(Context& context, std::vector<float>* keep = nullptr) const {
    std::vector<float> y(in.x.size());
    const View<float, 2> kept =
        keep != nullptr ? View<float, 2>(keep->data(), {T, 2 * F}) : View<float, 2>();
    FeedForwardForward(context, spec, Weights(), X(), {y.data(), {T, C}}, kept);
    return y;
  }
  GatedInputs<float> Zeros() const {
    GatedInputs<float> d;
    d.x.resize(in.x.size());
    d.w1.resize(in.w1.size());
    d.b1.resize(in.b1.size());
    d.w2.resize(in.w2.size());
    d.b2.resize(in.b2.size());
    return d;
  }
  FeedForwardGradients Into(GatedInputs<float>& d) const {
    return {{d.w1.data(), {2 * F, C}},
            {d.b1.data(), {2 * F}},
            {d.w2.data(), {C, F}},
            {d.b2.data(), {C}}};
  }
  GatedInputs<float> Backward(Context& context, std::vector<float>* undo = nullptr) const {
    GatedInputs<float> d = Zeros();
    const View<float, 2> undone =
        undo != nullptr ? View<float, 2>(undo->data(), {T, C}) : View<float, 2>();
    FeedForwardBackward(context, spec, Weights(), X(), {dy.data(), {T, C}}, {d.x.data(), {T, C}},
                        Into(d), undone);
    return d;
  }
};

// --- the reference's gradient

TEST(GatedFeedForward, ReferenceGradientByComplexStep) {
  for (const Activation activation : kGateActivations) {
    const GatedCase c(3, 5, 4, GatedSpec(activation));
    const auto in = InputsAs<double>(c.in);
    const auto dy = As<double>(c.dy);
    const auto loss = [&](std::span<const test::Complex> all) {
      GatedInputs<test::Complex> at;
      for (auto [part, size] : {std::pair{&at.x, in.x.size()},
                                {&at.w1, in.w1.size()},
                                {&at.b1, in.b1.size()},
                                {&at.w2, in.w2.size()},
                                {&at.b2, in.b2.size()}}) {
        part->assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
        all = all.subspan(size);
      }
      const auto f = GatedReference(c.spec, at);
      test::Complex sum = 0.0;
      for (std::size_t i = 0; i < f.size(); ++i) sum += f[i] * dy[i];
      return sum;
    };
    const auto gradient = Joined(GatedReferenceBackward(c.spec, in, dy));
    EXPECT_EQ(test::CheckGradient(loss, Joined(in), gradient), "") << ActivationName(activation);
  }
}

// --- the kernel against the reference

void ExpectGatedMatches(const GatedCase& c) {
  SCOPED_TRACE(testing::Message() << "T " << c.T << ", C " << c.C << ", F " << c.F << ", "
                                  << ActivationName(c.spec.activation));
  Context context(2);
  test::ExpectFeedForward(c.spec, c.in, c.dy, c.Forward(context), c.Backward(context));
}

TEST(GatedFeedForward, MatchesReference) {
  for (const Activation activation : kGateActivations) {
    ExpectGatedMatches(GatedCase(50, 24, 44, GatedSpec(activation, false)));
    ExpectGatedMatches(GatedCase(50, 24, 44, GatedSpec(activation)));
  }
  // Several slabs: 2^22 / 32768 are 256 tokens.
  ExpectGatedMatches(GatedCase(300, 2, 16384, GatedSpec(Activation::kGelu)));
}

TEST(GatedFeedForward, AnySizes) {
  for (const idx_t n : {1, 2, 3, 7, 8, 9, 15, 17, 33, 65}) {
    ExpectGatedMatches(GatedCase(n, 13, 21, GatedSpec(Activation::kGelu)));
    ExpectGatedMatches(GatedCase(11, n, 21, GatedSpec(Activation::kSilu)));
    ExpectGatedMatches(GatedCase(11, 13, n + 4, GatedSpec(Activation::kTanh)));
  }
}

TEST(GatedFeedForward, PlantedBugsBreakTheTolerance) {
  const GatedCase c(30, 16, 32, GatedSpec(Activation::kGelu));
  const auto in = InputsAs<double>(c.in);
  const auto f = GatedReference(c.spec, in);
  const auto tolerance = test::DerivedTolerance(GatedReference(c.spec, c.in), f, 2);
  const auto expect_seen = [&](const char* bug, const std::vector<double>& wrong) {
    const test::Difference difference = test::Compare(wrong, f, tolerance);
    EXPECT_GT(difference.max_abs, 10 * tolerance.max_abs) << bug;
    EXPECT_GT(difference.rel_l2, 10 * tolerance.rel_l2) << bug;
  };
  auto swapped = in;
  std::rotate(swapped.w1.begin(), swapped.w1.begin() + 32 * 16, swapped.w1.end());
  std::rotate(swapped.b1.begin(), swapped.b1.begin() + 32, swapped.b1.end());
  expect_seen("the other half activated", GatedReference(c.spec, swapped));
  FeedForwardSpec spec = c.spec;
  spec.hidden.key ^= 1;
  expect_seen("mask of another site", GatedReference(spec, in));
  spec = c.spec;
  spec.activation = Activation::kGeluNew;
  expect_seen("tanh form of gelu", GatedReference(spec, in));
}

// Two tokens that change places, with their numbers, keep their masks.
TEST(GatedFeedForward, ListedTokensKeepTheirMasks) {
  const GatedCase c(2, 19, 23, GatedSpec(Activation::kGelu));
  GatedCase other = c;
  std::rotate(other.in.x.begin(), other.in.x.begin() + c.C, other.in.x.end());
  const std::vector<std::int32_t> numbers = {1, 0};
  other.spec.listed = numbers;
  Context context(2);
  std::vector<float> f = c.Forward(context);
  std::rotate(f.begin(), f.begin() + c.C, f.end());
  EXPECT_SAME_BITS(other.Forward(context), f);
  other.spec.listed = {};
  EXPECT_FALSE(test::CompareBits(other.Forward(context), f).ok);
}

TEST(GatedFeedForward, KeptHiddenLayerGivesTheSameBits) {
  const GatedCase c(300, 19, 23, GatedSpec(Activation::kGelu));
  Context context(2);
  std::vector<float> kept(static_cast<std::size_t>(c.T * 2 * c.F));
  EXPECT_SAME_BITS(c.Forward(context, &kept), c.Forward(context));
  GatedInputs<float> d = c.Zeros();
  FeedForwardBackwardKept(context, c.spec, c.Weights(), c.X(), {kept.data(), {c.T, 2 * c.F}},
                          {c.dy.data(), {c.T, c.C}}, {d.x.data(), {c.T, c.C}}, c.Into(d));
  EXPECT_SAME_BITS(Joined(d), Joined(c.Backward(context)));
}

TEST(GatedFeedForward, UndoTakesAwayWhatForwardAdded) {
  const GatedCase c(70, 8, 20, GatedSpec(Activation::kSilu));
  Context context(2);
  std::vector<float> y = c.Forward(context), undo = y;
  c.Backward(context, &undo);
  EXPECT_EXACTLY_ZERO(undo);
}

TEST(GatedFeedForward, WithoutBiases) {
  GatedCase with(20, 12, 24, GatedSpec(Activation::kGelu));
  with.in.b1.assign(48, 0.0f);
  with.in.b2.assign(12, 0.0f);
  Context context(2);
  FeedForwardWeights weights = with.Weights();
  weights.b1 = weights.b2 = {};
  std::vector<float> y(with.in.x.size());
  FeedForwardForward(context, with.spec, weights, with.X(), {y.data(), {20, 12}});
  EXPECT_MATCHES(y, with.Forward(context), (test::Tolerance{1e-6, 1e-6}));
  GatedInputs<float> d = with.Zeros();
  FeedForwardGradients into = with.Into(d);
  into.db1 = into.db2 = {};
  FeedForwardBackward(context, with.spec, weights, with.X(), {with.dy.data(), {20, 12}},
                      {d.x.data(), {20, 12}}, into);
  const GatedInputs<float> expected = with.Backward(context);
  EXPECT_MATCHES(d.x, expected.x, (test::Tolerance{1e-5, 1e-6}));
  EXPECT_MATCHES(d.w1, expected.w1, (test::Tolerance{1e-5, 1e-6}));
}

// --- bf16

struct GatedBf16Numbers {
  std::vector<bfloat16> bits;
  View<const bfloat16, 2> view;

  // Rounds `values` in place.
  GatedBf16Numbers(std::vector<float>* values, idx_t rows, idx_t cols) {
    for (float& value : *values) {
      bits.push_back(ToBfloat16(value));
      value = ToFloat(bits.back());
    }
    view = {bits.data(), {rows, cols}};
  }
};

float Bf16Of(float value) { return ToFloat(ToBfloat16(value)); }

// f(x), then the gradients, as a framework computes them in bf16: every tensor that one operation
// hands another is rounded.
std::pair<std::vector<float>, GatedInputs<float>> NaiveBf16Gated(const GatedCase& c) {
  const auto F = static_cast<std::size_t>(c.F), C = static_cast<std::size_t>(c.C);
  const auto site = [&](const Dropout& dropout, std::size_t element) {
    return DropoutFactorReference<float>(dropout, element);
  };
  std::vector<float> pre = FeedForwardHiddenReference(c.in), y(c.in.x.size());
  for (float& value : pre) value = Bf16Of(value);
  GatedInputs<float> d = c.Zeros();
  std::vector<float> dout(C), gated(F);
  for (std::size_t t = 0; t < static_cast<std::size_t>(c.T); ++t) {
    for (std::size_t i = 0; i < C; ++i) {
      dout[i] = Bf16Of(Bf16Of(c.dy[t * C + i]) * site(c.spec.output, t * C + i));
      d.b2[i] += dout[i];
    }
    for (std::size_t f = 0; f < F; ++f) {
      const float u = pre[t * 2 * F + f], g = pre[t * 2 * F + F + f];
      const float m = site(c.spec.hidden, t * F + f);
      const float a = Bf16Of(ActivationReference(c.spec.activation, u));
      gated[f] = Bf16Of(Bf16Of(a * g) * m);
      float dm = 0.0f;
      for (std::size_t i = 0; i < C; ++i) {
        dm += dout[i] * c.in.w2[i * F + f];
        d.w2[i * F + f] += dout[i] * gated[f];
      }
      dm = Bf16Of(Bf16Of(dm) * m);
      const float slope = ActivationSlopeReference(c.spec.activation, u);
      const float du = Bf16Of(Bf16Of(dm * g) * slope), dg = Bf16Of(dm * a);
      d.b1[f] += du;
      d.b1[F + f] += dg;
      for (std::size_t i = 0; i < C; ++i) {
        d.w1[f * C + i] += du * c.in.x[t * C + i];
        d.w1[(F + f) * C + i] += dg * c.in.x[t * C + i];
        d.x[t * C + i] += du * c.in.w1[f * C + i] + dg * c.in.w1[(F + f) * C + i];
      }
    }
    for (std::size_t i = 0; i < C; ++i) {
      float sum = c.in.b2[i];
      for (std::size_t f = 0; f < F; ++f) sum += gated[f] * c.in.w2[i * F + f];
      y[t * C + i] = Bf16Of(Bf16Of(sum) * site(c.spec.output, t * C + i));
    }
  }
  for (auto* part : {&d.x, &d.w1, &d.b1, &d.w2, &d.b2}) {
    for (float& value : *part) value = Bf16Of(value);
  }
  return {y, d};
}

TEST(GatedFeedForward, Bf16AgainstDouble) {
  for (const auto& [T, C, F] : {std::array<idx_t, 3>{40, 48, 44}, {33, 17, 21}, {5, 64, 1030}}) {
    GatedCase c(T, C, F, GatedSpec(Activation::kGelu));
    const GatedBf16Numbers x(&c.in.x, T, C), w1(&c.in.w1, 2 * F, C), w2(&c.in.w2, C, F);
    const Bf16FeedForwardWeights weights{
        w1.view, {c.in.b1.data(), {2 * F}}, w2.view, {c.in.b2.data(), {C}}};
    Context context(2);
    std::vector<float> y(c.in.x.size()), without(y.size());
    std::vector<bfloat16> kept(static_cast<std::size_t>(T * 2 * F));
    FeedForwardForward(context, c.spec, weights, x.view, {y.data(), {T, C}},
                       View<bfloat16, 2>(kept.data(), {T, 2 * F}));
    FeedForwardForward(context, c.spec, weights, x.view, {without.data(), {T, C}});
    EXPECT_SAME_BITS(without, y);
    const auto in = InputsAs<double>(c.in);
    const auto f = GatedReference(c.spec, in);
    const auto [naive_y, naive] = NaiveBf16Gated(c);
    EXPECT_MATCHES(y, f, test::DerivedTolerance(naive_y, f, 2));

    GatedInputs<float> d = c.Zeros(), again = c.Zeros();
    const View<const float, 2> dy(c.dy.data(), {T, C});
    FeedForwardBackwardKept(context, c.spec, weights, x.view,
                            View<const bfloat16, 2>(kept.data(), {T, 2 * F}), dy,
                            {d.x.data(), {T, C}}, c.Into(d));
    FeedForwardBackward(context, c.spec, weights, x.view, dy, {again.x.data(), {T, C}},
                        c.Into(again));
    EXPECT_SAME_BITS(Joined(again), Joined(d));
    const auto expected = GatedReferenceBackward(c.spec, in, As<double>(c.dy));
    EXPECT_MATCHES(d.x, expected.x, test::DerivedTolerance(naive.x, expected.x, 3));
    EXPECT_MATCHES(d.w1, expected.w1, test::DerivedTolerance(naive.w1, expected.w1, 3));
    EXPECT_MATCHES(d.b1, expected.b1, test::DerivedTolerance(naive.b1, expected.b1, 3));
    EXPECT_MATCHES(d.w2, expected.w2, test::DerivedTolerance(naive.w2, expected.w2, 3));
    EXPECT_MATCHES(d.b2, expected.b2, test::DerivedTolerance(naive.b2, expected.b2, 3));
  }
}

// --- threads, arguments

TEST(GatedFeedForward, SameBitsForAnyThreads) {
  const GatedCase c(700, 48, 96, GatedSpec(Activation::kGelu));
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    std::vector<float> all = c.Forward(context);
    const std::vector<float> gradients = Joined(c.Backward(context));
    all.insert(all.end(), gradients.begin(), gradients.end());
    return all;
  });
}

TEST(GatedFeedForward, BadArgumentsAreNamed) {
  Context context(1);
  const GatedCase c(5, 4, 8, GatedSpec(Activation::kGelu));
  std::vector<float> y(20);
  const auto message = [&](const FeedForwardWeights& weights, idx_t kept) -> std::string {
    std::vector<float> keep(200);
    try {
      FeedForwardForward(context, c.spec, weights, c.X(), {y.data(), {5, 4}},
                         {keep.data(), {5, kept}});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return error.what();
    }
    return "nothing thrown";
  };
  FeedForwardWeights weights = c.Weights();
  weights.w1.extent[0] = 15;
  EXPECT_THAT(message(weights, 16), testing::HasSubstr("needs an even number of rows"));
  EXPECT_THAT(message(c.Weights(), 8), testing::HasSubstr("the kept hidden layer is (5, 8)"));
  weights = c.Weights();
  weights.w2.extent[1] = 16;
  EXPECT_THAT(message(weights, 16), testing::HasSubstr("w2 is (4, 16), not (4, 8)"));
}

}  // namespace
}  // namespace longspan
