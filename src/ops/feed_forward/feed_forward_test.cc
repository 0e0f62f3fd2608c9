#include "ops/feed_forward/feed_forward.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "base/arena.h"
#include "longspan/error.h"
#include "ops/feed_forward/feed_forward_ref.h"
#include "ops/feed_forward/feed_forward_test.h"
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
constexpr Activation kActivations[] = {
    Activation::kRelu,    Activation::kGelu,      Activation::kGeluNew,  Activation::kSilu,
    Activation::kTanh,    Activation::kSigmoid,   Activation::kIdentity, Activation::kRelu2,
    Activation::kMish,    Activation::kQuickGelu, Activation::kRelu6,    Activation::kLeakyRelu,
    Activation::kLaplace, Activation::kGelu10};

template <class T>
using Inputs = FeedForwardReferenceInputs<T>;

template <class To, class From>
Inputs<To> Converted(const Inputs<From>& in) {
  const auto convert = [](const std::vector<From>& v) {
    return std::vector<To>(v.begin(), v.end());
  };
  return {convert(in.x), convert(in.w1), convert(in.b1), convert(in.w2), convert(in.b2)};
}

template <class T>
std::vector<T> Flat(const Inputs<T>& in) {
  std::vector<T> all;
  for (const auto* part : {&in.x, &in.w1, &in.b1, &in.w2, &in.b2}) {
    all.insert(all.end(), part->begin(), part->end());
  }
  return all;
}

struct Case {
  idx_t T, C, F;
  FeedForwardSpec spec;
  Inputs<float> in;
  std::vector<float> dy;

  Case(idx_t t, idx_t c, idx_t f, FeedForwardSpec s = {}) : T(t), C(c), F(f), spec(s) {
    in.x = RandomNormal(1, T * C);
    in.w1 = RandomNormal(2, F * C, 1.0f / std::sqrt(static_cast<float>(C)));
    in.b1 = RandomNormal(3, F, 0.5f);
    in.w2 = RandomNormal(4, C * F, 1.0f / std::sqrt(static_cast<float>(F)));
    in.b2 = RandomNormal(5, C, 0.5f);
    dy = RandomNormal(6, T * C);
  }
  FeedForwardWeights Weights() const {
    return {
        {in.w1.data(), {F, C}}, {in.b1.data(), {F}}, {in.w2.data(), {C, F}}, {in.b2.data(), {C}}};
  }
  std::vector<float> Forward(Context& context, std::vector<float> y) const {
    FeedForwardForward(context, spec, Weights(), {in.x.data(), {T, C}}, {y.data(), {T, C}});
    return y;
  }
  std::vector<float> Forward(Context& context) const {
    return Forward(context, std::vector<float>(in.x.size()));
  }
  // `undo` empty: none.
  Inputs<float> Backward(Context& context, std::vector<float>& undo) const {
    Inputs<float> d;
    d.x.assign(in.x.size(), 0.0f);
    d.w1.assign(in.w1.size(), 0.0f);
    d.b1.assign(in.b1.size(), 0.0f);
    d.w2.assign(in.w2.size(), 0.0f);
    d.b2.assign(in.b2.size(), 0.0f);
    const FeedForwardGradients gradients{
        {d.w1.data(), {F, C}}, {d.b1.data(), {F}}, {d.w2.data(), {C, F}}, {d.b2.data(), {C}}};
    const View<float, 2> undone =
        undo.empty() ? View<float, 2>() : View<float, 2>(undo.data(), {T, C});
    FeedForwardBackward(context, spec, Weights(), {in.x.data(), {T, C}}, {dy.data(), {T, C}},
                        {d.x.data(), {T, C}}, gradients, undone);
    return d;
  }
};

FeedForwardSpec WithDropout(Activation activation) {
  return {activation, {0.2f, 111}, {0.3f, 222}};
}

void ExpectMatchesReference(const Case& c) {
  SCOPED_TRACE(testing::Message() << "T " << c.T << ", C " << c.C << ", F " << c.F << ", "
                                  << ActivationName(c.spec.activation));
  Context context(2);
  std::vector<float> none;
  test::ExpectFeedForward(c.spec, c.in, c.dy, c.Forward(context), c.Backward(context, none));
}

// --- the reference's gradient

TEST(FeedForward, ReferenceGradientByComplexStep) {
  for (const Activation activation : kActivations) {
    const Case c(3, 5, 7, WithDropout(activation));
    const Inputs<double> in = Converted<double>(c.in);
    const std::vector<double> dy = ToDouble(c.dy);
    const auto loss = [&](std::span<const Complex> all) {
      Inputs<Complex> at;
      for (auto [part, size] : {std::pair{&at.x, in.x.size()},
                                {&at.w1, in.w1.size()},
                                {&at.b1, in.b1.size()},
                                {&at.w2, in.w2.size()},
                                {&at.b2, in.b2.size()}}) {
        part->assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(size));
        all = all.subspan(size);
      }
      const auto f = FeedForwardReference(c.spec, at);
      Complex sum = 0.0;
      for (std::size_t i = 0; i < f.size(); ++i) sum += f[i] * dy[i];
      return sum;
    };
    const auto gradient = Flat(FeedForwardReferenceBackward(c.spec, in, dy));
    EXPECT_EQ(test::CheckGradient(loss, Flat(in), gradient), "") << ActivationName(activation);
  }
}

// --- the kernel against the reference

TEST(FeedForward, MatchesReference) {
  for (const Activation activation : kActivations) {
    ExpectMatchesReference(Case(50, 24, 64, {activation, {}, {}}));
    ExpectMatchesReference(Case(50, 24, 64, WithDropout(activation)));
  }
  ExpectMatchesReference(Case(40, 128, 512, WithDropout(Activation::kRelu)));
}

TEST(FeedForward, SeveralSlabsAreOneFunction) {
  // 2^22 / 16384 = 256 tokens a slab: 300 tokens are two of them.
  const Case c(300, 2, 16384, WithDropout(Activation::kRelu));
  ExpectMatchesReference(c);
}

TEST(FeedForward, PlantedBugsBreakTheTolerance) {
  const Case c(30, 16, 32, WithDropout(Activation::kGelu));
  const Inputs<double> in = Converted<double>(c.in);
  const auto f = FeedForwardReference(c.spec, in);
  const auto tolerance = DerivedTolerance(FeedForwardReference(c.spec, c.in), f, 2);
  const auto expect_seen = [&](const char* bug, const std::vector<double>& wrong) {
    const test::Difference difference = test::Compare(wrong, f, tolerance);
    EXPECT_GT(difference.max_abs, 10 * tolerance.max_abs) << bug;
    EXPECT_GT(difference.rel_l2, 10 * tolerance.rel_l2) << bug;
  };
  FeedForwardSpec spec = c.spec;
  spec.activation = Activation::kGeluNew;
  expect_seen("tanh form of gelu", FeedForwardReference(spec, in));
  spec = c.spec;
  spec.hidden.key ^= 1;
  expect_seen("hidden mask of another site", FeedForwardReference(spec, in));
  spec = c.spec;
  spec.output = {};
  expect_seen("no output dropout", FeedForwardReference(spec, in));
  Inputs<double> without = in;
  without.b1[3] = 0.0;
  expect_seen("one bias of the hidden layer dropped", FeedForwardReference(c.spec, without));
}

// Tokens in another order, whose numbers are listed, have the masks that they had.
TEST(FeedForward, ListedTokensKeepTheirMasks) {
  const Case c(50, 24, 64, WithDropout(Activation::kGelu));
  const auto turned = [&](const std::vector<float>& rows) {
    std::vector<float> result;
    for (idx_t t = c.T; t-- > 0;) {
      result.insert(result.end(), rows.begin() + t * c.C, rows.begin() + (t + 1) * c.C);
    }
    return result;
  };
  std::vector<std::int32_t> numbers;
  for (idx_t t = c.T; t-- > 0;) numbers.push_back(static_cast<std::int32_t>(t));
  Case other = c;
  other.in.x = turned(c.in.x);
  other.dy = turned(c.dy);
  other.spec.listed = numbers;
  Context context(2);
  std::vector<float> none;
  auto gradients = other.Backward(context, none);
  gradients.x = turned(gradients.x);
  test::ExpectFeedForward(c.spec, c.in, c.dy, turned(other.Forward(context)), gradients);
}

TEST(FeedForward, UndoTakesAwayWhatForwardAdded) {
  for (const FeedForwardSpec& spec :
       {WithDropout(Activation::kGelu), FeedForwardSpec{Activation::kRelu, {}, {}}}) {
    const Case c(300, 8, 16384, spec);  // two slabs
    Context context(2);
    const std::vector<float> f = c.Forward(context);
    std::vector<float> undo(f.size()), minus = f;
    c.Backward(context, undo);
    for (float& value : minus) value = 0.0f - value;
    for (float& value : undo) value += 0.0f;  // -0 + 0 = 0
    for (float& value : minus) value += 0.0f;
    EXPECT_SAME_BITS(undo, minus);
    // y = y0 + f, then y - f: y0 up to the rounding of the sum.
    const std::vector<float> y0 = RandomNormal(9, c.T * c.C);
    std::vector<float> y = c.Forward(context, y0), expected = y;
    for (std::size_t i = 0; i < y.size(); ++i) expected[i] -= f[i];
    c.Backward(context, y);
    EXPECT_SAME_BITS(y, expected);
  }
}

TEST(FeedForward, BackwardIsTheSameWithAndWithoutUndo) {
  const Case c(70, 20, 48, WithDropout(Activation::kSilu));
  Context context(2);
  std::vector<float> none, undo(c.in.x.size());
  EXPECT_SAME_BITS(Flat(c.Backward(context, none)), Flat(c.Backward(context, undo)));
}

// --- edges

TEST(FeedForward, OddSizes) {
  for (const idx_t n : {1, 2, 3, 7, 8, 9, 15, 17, 33}) {
    ExpectMatchesReference(Case(n, 13, 21, WithDropout(Activation::kGeluNew)));
    ExpectMatchesReference(Case(11, n, 21, WithDropout(Activation::kSilu)));
    ExpectMatchesReference(Case(11, 13, n + 4, WithDropout(Activation::kTanh)));
  }
}

// Values and slopes of an activation at every h, through a block of one channel: f(h) = act(h).
void ExpectActivation(Activation activation, const std::vector<float>& h, double absolute) {
  Case c(static_cast<idx_t>(h.size()), 1, 1, {activation, {}, {}});
  c.in = {h, {1.0f}, {0.0f}, {1.0f}, {0.0f}};
  c.dy.assign(h.size(), 1.0f);
  Context context(1);
  std::vector<float> none;
  const std::vector<float> f = c.Forward(context);
  const std::vector<float> slope = c.Backward(context, none).x;
  for (std::size_t i = 0; i < h.size(); ++i) {
    const double x = h[i], value = ActivationReference(activation, x);
    ASSERT_NEAR(f[i], value, absolute + 5e-7 * std::abs(value))
        << ActivationName(activation) << "(" << x << ")";
    const double derivative = ActivationSlopeReference(activation, x);
    ASSERT_NEAR(slope[i], derivative, 2 * absolute + 1e-6 * std::abs(derivative))
        << ActivationName(activation) << "'(" << x << ")";
  }
}

TEST(FeedForward, ActivationsOverTheirRange) {
  std::vector<float> h;
  for (int i = -12000; i <= 12000; ++i) h.push_back(static_cast<float>(i) * 1e-3f);
  for (const Activation activation : kActivations) ExpectActivation(activation, h, 3e-7);
}

TEST(FeedForward, ActivationsOfHugeAndSpecialValues) {
  for (const Activation activation : kActivations) {
    // Relu2 overflows where it should, so it stays below 1e19.
    ExpectActivation(activation, {-1e15f, -1e4f, -100.0f, 100.0f, 1e4f, 1e15f}, 1e-6);
    Case c(3, 1, 1, {activation, {}, {}});
    c.in = {{kNan, 1.0f, kNan}, {1.0f}, {0.0f}, {1.0f}, {0.0f}};
    Context context(1);
    const std::vector<float> f = c.Forward(context);
    EXPECT_TRUE(std::isnan(f[0]) && std::isfinite(f[1]) && std::isnan(f[2]))
        << ActivationName(activation);
  }
}

// What torch says where there is no derivative, and where a bound begins to hold.
TEST(FeedForward, ActivationsAtTheirKinks) {
  Context context(1);
  const auto at = [&](Activation activation, float h) {
    std::vector<float> value = {h}, slope = {0.0f};
    Activate(context, activation, {value.data(), {1, 1}}, {slope.data(), {1, 1}});
    return std::pair(value[0], slope[0]);
  };
  using Pair = std::pair<float, float>;
  EXPECT_EQ(at(Activation::kRelu6, 0.0f), Pair(0.0f, 0.0f));
  EXPECT_EQ(at(Activation::kRelu6, 6.0f), Pair(6.0f, 0.0f));
  EXPECT_EQ(at(Activation::kRelu6, 5.5f), Pair(5.5f, 1.0f));
  EXPECT_EQ(at(Activation::kRelu6, 7.0f), Pair(6.0f, 0.0f));
  EXPECT_EQ(at(Activation::kLeakyRelu, 0.0f), Pair(0.0f, 0.01f));
  EXPECT_EQ(at(Activation::kLeakyRelu, -2.0f), Pair(-0.02f, 0.01f));
  EXPECT_EQ(at(Activation::kGelu10, 10.0f), Pair(10.0f, 1.0f));
  EXPECT_EQ(at(Activation::kGelu10, 10.5f), Pair(10.0f, 0.0f));
  EXPECT_EQ(at(Activation::kGelu10, -1e30f).first, 0.0f);
}

TEST(FeedForward, WithoutBiases) {
  Case with(20, 12, 24);
  with.in.b1.assign(24, 0.0f);
  with.in.b2.assign(12, 0.0f);
  FeedForwardWeights weights = with.Weights();
  weights.b1 = weights.b2 = {};
  Context context(2);
  std::vector<float> y(with.in.x.size());
  FeedForwardForward(context, with.spec, weights, {with.in.x.data(), {20, 12}},
                     {y.data(), {20, 12}});
  EXPECT_MATCHES(y, with.Forward(context), (test::Tolerance{1e-6, 1e-6}));
  std::vector<float> dx(y.size()), dw1(with.in.w1.size()), dw2(with.in.w2.size()), none;
  FeedForwardBackward(context, with.spec, weights, {with.in.x.data(), {20, 12}},
                      {with.dy.data(), {20, 12}}, {dx.data(), {20, 12}},
                      {{dw1.data(), {24, 12}}, {}, {dw2.data(), {12, 24}}, {}});
  EXPECT_MATCHES(dx, with.Backward(context, none).x, (test::Tolerance{1e-5, 1e-6}));
}

TEST(FeedForward, StridedViewsLeaveTheGapsAlone) {
  const Case c(33, 10, 20, WithDropout(Activation::kRelu));
  Context context(2);
  constexpr idx_t kStride = 13;
  const std::array<idx_t, 2> shape = {33, 10}, stride = {kStride, 1};
  const auto spread = [&](const std::vector<float>& values) {
    std::vector<float> wide(33 * kStride, kNan);
    for (idx_t i = 0; i < 330; ++i) wide[i / 10 * kStride + i % 10] = values[i];
    return wide;
  };
  const std::vector<float> zeros(330), x = spread(c.in.x), dy = spread(c.dy);
  std::vector<float> y = spread(zeros), dx = spread(zeros), undo = spread(zeros), none;
  Inputs<float> d = c.Backward(context, none);
  const Inputs<float> expected = d;
  for (auto* part : {&d.w1, &d.b1, &d.w2, &d.b2}) part->assign(part->size(), 0.0f);
  FeedForwardForward(context, c.spec, c.Weights(), {x.data(), shape, stride},
                     {y.data(), shape, stride});
  FeedForwardBackward(
      context, c.spec, c.Weights(), {x.data(), shape, stride}, {dy.data(), shape, stride},
      {dx.data(), shape, stride},
      {{d.w1.data(), {20, 10}}, {d.b1.data(), {20}}, {d.w2.data(), {10, 20}}, {d.b2.data(), {10}}},
      {undo.data(), shape, stride});
  const std::vector<float> f = spread(c.Forward(context)), dx_expected = spread(expected.x);
  for (std::size_t i = 0; i < f.size(); ++i) {
    ASSERT_EQ(std::isnan(y[i]), std::isnan(f[i]));
    ASSERT_EQ(std::isnan(dx[i]), std::isnan(f[i]));
    if (std::isnan(f[i])) continue;
    ASSERT_NEAR(y[i], f[i], 1e-5f);
    ASSERT_EQ(undo[i], -y[i]);
    ASSERT_NEAR(dx[i], dx_expected[i], 1e-5f);
  }
  EXPECT_MATCHES(d.w1, expected.w1, (test::Tolerance{1e-4, 1e-6}));
  EXPECT_MATCHES(d.w2, expected.w2, (test::Tolerance{1e-4, 1e-6}));
}

TEST(FeedForward, NoTokensIsFine) {
  const Case c(0, 4, 8);
  Context context(1);
  float none = 0.0f;
  FeedForwardForward(context, c.spec, c.Weights(), {&none, {0, 4}}, {&none, {0, 4}});
}

TEST(FeedForward, ScratchDoesNotGrowWithTheLength) {
  const Case one(300, 2, 16384), four(1200, 2, 16384);  // slabs of 256 tokens
  Context context(2);
  one.Forward(context);
  const std::size_t peak = context.arena().peak();
  four.Forward(context);
  EXPECT_EQ(context.arena().peak(), peak);
}

// --- what the forward kept

TEST(FeedForward, KeptHiddenLayerGivesTheSameBits) {
  for (const Activation activation : {Activation::kGelu, Activation::kGeluNew}) {
    const Case c(300, 19, 23, WithDropout(activation));
    Context context(2);
    std::vector<float> y(c.in.x.size()), kept(static_cast<std::size_t>(c.T * c.F));
    FeedForwardForward(context, c.spec, c.Weights(), {c.in.x.data(), {c.T, c.C}},
                       {y.data(), {c.T, c.C}}, {kept.data(), {c.T, c.F}});
    EXPECT_SAME_BITS(y, c.Forward(context));
    std::vector<float> none;
    const Inputs<float> expected = c.Backward(context, none);
    Inputs<float> d;
    d.x.assign(c.in.x.size(), 0.0f);
    d.w1.assign(c.in.w1.size(), 0.0f);
    d.b1.assign(c.in.b1.size(), 0.0f);
    d.w2.assign(c.in.w2.size(), 0.0f);
    d.b2.assign(c.in.b2.size(), 0.0f);
    FeedForwardBackwardKept(context, c.spec, c.Weights(), {c.in.x.data(), {c.T, c.C}},
                            {kept.data(), {c.T, c.F}}, {c.dy.data(), {c.T, c.C}},
                            {d.x.data(), {c.T, c.C}},
                            {{d.w1.data(), {c.F, c.C}},
                             {d.b1.data(), {c.F}},
                             {d.w2.data(), {c.C, c.F}},
                             {d.b2.data(), {c.C}}});
    EXPECT_SAME_BITS(Flat(d), Flat(expected));
  }
}

TEST(FeedForward, ActivationAloneAndItsSlope) {
  Context context(2);
  for (const Activation activation : kActivations) {
    const std::vector<float> x = RandomNormal(9, 7 * 41);
    std::vector<float> value = x, slope(x.size()), dx = RandomNormal(10, 7 * 41), alone = x;
    const std::vector<float> dy = dx;
    Activate(context, activation, {value.data(), {7, 41}}, {slope.data(), {7, 41}});
    Activate(context, activation, {alone.data(), {7, 41}});
    EXPECT_SAME_BITS(alone, value);
    MultiplyBySlope(context, {slope.data(), {7, 41}}, {dx.data(), {7, 41}});
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto h = static_cast<double>(x[i]), s = ActivationSlopeReference(activation, h);
      EXPECT_NEAR(value[i], ActivationReference(activation, h), 2e-6) << ActivationName(activation);
      EXPECT_NEAR(dx[i], s * static_cast<double>(dy[i]), 1e-5) << ActivationName(activation);
    }
  }
  std::vector<float> x(12);
  EXPECT_THROW(Activate(context, Activation::kRelu, {x.data(), {2, 3}, {6, 1}}), Error);
  EXPECT_THROW(MultiplyBySlope(context, {x.data(), {2, 3}}, {x.data(), {3, 2}}), Error);
}

// --- threads

TEST(FeedForward, SameBitsForAnyThreads) {
  const Case c(700, 48, 96, WithDropout(Activation::kGelu));
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    std::vector<float> all = c.Forward(context), undo = all;
    const std::vector<float> gradients = Flat(c.Backward(context, undo));
    all.insert(all.end(), gradients.begin(), gradients.end());
    all.insert(all.end(), undo.begin(), undo.end());
    return all;
  });
}

// --- names and bad arguments

TEST(FeedForward, ActivationNames) {
  for (const Activation activation : kActivations) {
    EXPECT_EQ(ParseActivation(ActivationName(activation)), activation);
  }
  EXPECT_EQ(ParseActivation("swish"), Activation::kSilu);
  EXPECT_EQ(ParseActivation("gelu_pytorch_tanh"), Activation::kGeluNew);
  EXPECT_EQ(ParseActivation("gelu_python_tanh"), Activation::kGeluNew);
  EXPECT_EQ(ActivationName(Activation::kIdentity), "linear");
  for (const char* learned : {"prelu", "xielu"}) {
    try {
      ParseActivation(learned);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kFormat);
      EXPECT_THAT(error.what(), testing::HasSubstr("parameters of its own"));
    }
  }
  try {
    ParseActivation("quick_relu");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    EXPECT_THAT(error.what(), testing::HasSubstr("'quick_relu'"));
    EXPECT_THAT(error.what(), testing::HasSubstr("gelu_new"));
  }
}

TEST(FeedForward, BadArgumentsAreNamed) {
  Context context(1);
  const Case c(5, 4, 8);
  std::vector<float> data(64);
  const View<float, 2> x(data.data(), {5, 4}), wrong(data.data(), {4, 5});
  const auto message = [&](const FeedForwardSpec& spec, const FeedForwardWeights& weights,
                           const View<float, 2>& y) -> std::string {
    try {
      FeedForwardForward(context, spec, weights, x, y);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUsage);
      return error.what();
    }
    return "nothing thrown";
  };
  using testing::HasSubstr;
  EXPECT_THAT(message({}, c.Weights(), wrong), HasSubstr("y is (4, 5), not (5, 4)"));
  FeedForwardWeights weights = c.Weights();
  weights.w2 = {data.data(), {8, 4}};
  EXPECT_THAT(message({}, weights, x), HasSubstr("w2 is (8, 4), not (4, 8)"));
  weights = c.Weights();
  weights.b1 = {data.data(), {4}};
  EXPECT_THAT(message({}, weights, x), HasSubstr("b1 is (4), not (8)"));
  EXPECT_THAT(message({Activation::kRelu, {1.5f, 0}, {}}, c.Weights(), x),
              HasSubstr("hidden dropout 1.5"));
  try {
    FeedForwardBackward(context, {}, c.Weights(), x, x, wrong, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("dx is (4, 5), not (5, 4)"));
  }
}

}  // namespace
}  // namespace longspan
