#include "ops/reversible/reversible.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "longspan/error.h"
#include "ops/reversible/reversible_ref.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

using test::Complex;
using test::RandomNormal;
using test::ToDouble;

// Two smooth branches on (T, C), one that mixes features and one that mixes tokens:
// f(x) = tanh(x A), g(x) = sin(B x). A (C, C), B (T, T).
struct Mixer {
  idx_t tokens, width;
  std::vector<float> a, b;

  static std::size_t At(idx_t row, idx_t column, idx_t columns) {
    return static_cast<std::size_t>(row * columns + column);
  }
  template <class T>
  std::vector<T> TimesA(const std::vector<T>& x, bool transposed) const {
    std::vector<T> y(x.size(), T(0));
    for (idx_t t = 0; t < tokens; ++t) {
      for (idx_t i = 0; i < width; ++i) {
        for (idx_t j = 0; j < width; ++j) {
          const float weight = transposed ? a[At(j, i, width)] : a[At(i, j, width)];
          y[At(t, j, width)] += x[At(t, i, width)] * static_cast<T>(weight);
        }
      }
    }
    return y;
  }
  template <class T>
  std::vector<T> BTimes(const std::vector<T>& x, bool transposed) const {
    std::vector<T> y(x.size(), T(0));
    for (idx_t t = 0; t < tokens; ++t) {
      for (idx_t s = 0; s < tokens; ++s) {
        const float weight = transposed ? b[At(s, t, tokens)] : b[At(t, s, tokens)];
        for (idx_t i = 0; i < width; ++i) {
          y[At(t, i, width)] += static_cast<T>(weight) * x[At(s, i, width)];
        }
      }
    }
    return y;
  }
  template <class T>
  std::vector<T> f(const std::vector<T>& x) const {
    std::vector<T> y = TimesA(x, false);
    for (T& value : y) value = std::tanh(value);
    return y;
  }
  template <class T>
  std::vector<T> df(const std::vector<T>& x, std::vector<T> dy) const {
    const std::vector<T> y = f(x);
    for (std::size_t i = 0; i < y.size(); ++i) dy[i] *= T(1) - y[i] * y[i];
    return TimesA(dy, true);
  }
  template <class T>
  std::vector<T> g(const std::vector<T>& x) const {
    std::vector<T> y = BTimes(x, false);
    for (T& value : y) value = std::sin(value);
    return y;
  }
  template <class T>
  std::vector<T> dg(const std::vector<T>& x, std::vector<T> dy) const {
    const std::vector<T> z = BTimes(x, false);
    for (std::size_t i = 0; i < z.size(); ++i) dy[i] *= std::cos(z[i]);
    return BTimes(dy, true);
  }
};

std::vector<Mixer> MakeLayers(idx_t layers, idx_t tokens, idx_t width) {
  std::vector<Mixer> mixers;
  for (idx_t l = 0; l < layers; ++l) {
    const auto seed = static_cast<std::uint64_t>(100 + 2 * l);
    mixers.push_back({tokens, width, RandomNormal(seed, width * width, 0.5f),
                      RandomNormal(seed + 1, tokens * tokens, 0.5f)});
  }
  return mixers;
}

std::vector<float> Values(const View<const float, 2>& view) {
  std::vector<float> values;
  for (idx_t t = 0; t < view.extent[0]; ++t) {
    for (idx_t c = 0; c < view.extent[1]; ++c) values.push_back(view(t, c));
  }
  return values;
}

void AddTo(const View<float, 2>& view, const std::vector<float>& values, float sign) {
  for (idx_t t = 0; t < view.extent[0]; ++t) {
    for (idx_t c = 0; c < view.extent[1]; ++c) {
      view(t, c) += sign * values[static_cast<std::size_t>(t * view.extent[1] + c)];
    }
  }
}

// A branch out of any two functions: the value and the transposed Jacobian.
template <class Value, class Gradient>
ReversibleBranch MakeBranch(Value value, Gradient gradient) {
  return {[=](const ResidualStream& x, const ResidualStream& y) {
            AddTo(y.Floats(), value(Values(x.Floats())), 1.0f);
          },
          [=](const ResidualStream& x, const ResidualStream& y, const ResidualStream& dy,
              const ResidualStream& dx) {
            AddTo(y.Floats(), value(Values(x.Floats())), -1.0f);
            AddTo(dx.Floats(), gradient(Values(x.Floats()), Values(dy.Floats())), 1.0f);
          }};
}

ReversibleBranch BranchF(const Mixer& m) {
  return MakeBranch([m](const auto& x) { return m.f(x); },
                    [m](const auto& x, const auto& dy) { return m.df(x, dy); });
}
ReversibleBranch BranchG(const Mixer& m) {
  return MakeBranch([m](const auto& x) { return m.g(x); },
                    [m](const auto& x, const auto& dy) { return m.dg(x, dy); });
}

struct Stack {
  idx_t tokens, width;
  std::vector<Mixer> layers;

  Stack(idx_t depth, idx_t t, idx_t c) : tokens(t), width(c), layers(MakeLayers(depth, t, c)) {}
  View<float, 2> Of(std::vector<float>& values) const { return {values.data(), {tokens, width}}; }
  void Forward(std::vector<float>& x1, std::vector<float>& x2) const {
    for (const Mixer& m : layers) ReversibleForward(BranchF(m), BranchG(m), Of(x1), Of(x2));
  }
  void Backward(std::vector<float>& y1, std::vector<float>& y2, std::vector<float>& dy1,
                std::vector<float>& dy2) const {
    for (std::size_t l = layers.size(); l-- > 0;) {
      ReversibleBackward(BranchF(layers[l]), BranchG(layers[l]), Of(y1), Of(y2), Of(dy1), Of(dy2));
    }
  }
};

template <class T>
std::vector<T> Joined(std::vector<T> a, const std::vector<T>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(ReversibleReference, GradientAgreesWithComplexStep) {
  const Stack stack(3, 4, 5);
  const auto inputs = ToDouble(RandomNormal(1, 40));
  const auto weights = ToDouble(RandomNormal(2, 40));
  const auto split = [](const auto& values) {
    using T = std::remove_cvref_t<decltype(values[0])>;
    return ref::Streams<T>{{values.begin(), values.begin() + 20},
                           {values.begin() + 20, values.end()}};
  };
  const auto loss = [&](std::span<const Complex> x) {
    const auto all = ref::ReversibleForward(stack.layers, split(x));
    const auto y = Joined(all.back().first, all.back().second);
    Complex sum = 0.0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += weights[i] * y[i];
    return sum;
  };
  const auto all = ref::ReversibleForward(stack.layers, split(inputs));
  const auto dx = ref::ReversibleBackward(stack.layers, all, split(weights));
  EXPECT_EQ(test::CheckGradient(loss, inputs, Joined(dx.first, dx.second)), "");
}

TEST(Reversible, AgreesWithReferenceThatKeepsEverything) {
  for (const idx_t depth : {1, 2, 6}) {
    const Stack stack(depth, 7, 9);
    const ref::Streams<float> x{RandomNormal(3, 63), RandomNormal(4, 63)};
    const ref::Streams<float> dy{RandomNormal(5, 63), RandomNormal(6, 63)};
    const auto naive_all = ref::ReversibleForward(stack.layers, x);
    const auto naive = ref::ReversibleBackward(stack.layers, naive_all, dy);
    const ref::Streams<double> x_double{ToDouble(x.first), ToDouble(x.second)};
    const ref::Streams<double> dy_double{ToDouble(dy.first), ToDouble(dy.second)};
    const auto all = ref::ReversibleForward(stack.layers, x_double);
    const auto oracle = ref::ReversibleBackward(stack.layers, all, dy_double);

    std::vector<float> s1 = x.first, s2 = x.second, d1 = dy.first, d2 = dy.second;
    stack.Forward(s1, s2);
    const auto out = test::DerivedTolerance(Joined(naive_all.back().first, naive_all.back().second),
                                            Joined(all.back().first, all.back().second), 2.0);
    EXPECT_MATCHES(Joined(s1, s2), Joined(all.back().first, all.back().second), out);
    stack.Backward(s1, s2, d1, d2);
    // The reference sees exact inputs, the reversed ones carry the rounding of each layer's sums.
    auto gradient = test::DerivedTolerance(Joined(naive.first, naive.second),
                                           Joined(oracle.first, oracle.second), 3.0);
    EXPECT_MATCHES(Joined(d1, d2), Joined(oracle.first, oracle.second), gradient);
    // A branch that is not undone before the next one's gradient is taken.
    std::vector<float> w1 = naive_all.back().first, w2 = naive_all.back().second;
    std::vector<float> wrong1 = dy.first, wrong2 = dy.second;
    const Mixer& last = stack.layers.back();
    AddTo(stack.Of(wrong1), last.dg(w1, wrong2), 1.0f);
    AddTo(stack.Of(wrong2), last.df(w2, wrong1), 1.0f);  // w2 is still y2
    gradient.max_abs *= 10.0;
    gradient.rel_l2 *= 10.0;
    if (depth == 1) {
      EXPECT_FALSE(test::Compare(std::span<const float>(Joined(wrong1, wrong2)),
                                 std::span<const double>(Joined(oracle.first, oracle.second)),
                                 gradient)
                       .ok);
    }
  }
}

TEST(Reversible, BackwardReturnsTheInputs) {
  const Stack stack(12, 6, 8);
  const std::vector<float> x1 = RandomNormal(7, 48), x2 = RandomNormal(8, 48);
  std::vector<float> s1 = x1, s2 = x2, d1 = RandomNormal(9, 48), d2 = RandomNormal(10, 48);
  stack.Forward(s1, s2);
  float largest = 0.0f;
  for (const float value : Joined(s1, s2)) largest = std::max(largest, std::abs(value));
  stack.Backward(s1, s2, d1, d2);
  // (x + f) - f is off by one rounding of x + f; later layers pass that on, with slopes near 1.
  const double tolerance = 12.0 * 2.0 * 0x1p-24 * static_cast<double>(largest) * 4.0;
  EXPECT_MATCHES(Joined(s1, s2), Joined(x1, x2), (test::Tolerance{tolerance, tolerance}));
}

TEST(Reversible, InverseIsExactWhereSumsAre) {
  // Small integers: no sum rounds, so not a bit is lost in a hundred layers.
  const auto scaled = [](float factor) {
    return MakeBranch(
        [=](std::vector<float> x) {
          for (float& value : x) value = std::fmod(std::trunc(factor * value), 64.0f);
          return x;
        },
        [](const std::vector<float>&, std::vector<float> dy) { return dy; });
  };
  std::vector<float> x1, x2;
  for (int i = 0; i < 30; ++i) {
    x1.push_back(static_cast<float>(i - 11));
    x2.push_back(static_cast<float>(3 * i - 50));
  }
  std::vector<float> s1 = x1, s2 = x2, d1(30, 0.0f), d2(30, 0.0f);
  const auto view = [](std::vector<float>& values) {
    return View<float, 2>(values.data(), {5, 6});
  };
  for (int l = 0; l < 100; ++l) {
    ReversibleForward(scaled(3.0f), scaled(-5.0f), view(s1), view(s2));
  }
  EXPECT_NE(s1, x1);
  for (int l = 0; l < 100; ++l) {
    ReversibleBackward(scaled(3.0f), scaled(-5.0f), view(s1), view(s2), view(d1), view(d2));
  }
  EXPECT_SAME_BITS(s1, x1);
  EXPECT_SAME_BITS(s2, x2);
}

TEST(Reversible, StridedStreamsSideBySide) {
  // Both streams in the rows of one (T, 2 C) buffer.
  const Stack stack(2, 5, 3);
  std::vector<float> x1 = RandomNormal(11, 15), x2 = RandomNormal(12, 15), both(30);
  const View<float, 2> left(both.data(), {5, 3}, {6, 1}), right(both.data() + 3, {5, 3}, {6, 1});
  AddTo(left, x1, 1.0f);
  AddTo(right, x2, 1.0f);
  stack.Forward(x1, x2);
  for (const Mixer& m : stack.layers) ReversibleForward(BranchF(m), BranchG(m), left, right);
  EXPECT_SAME_BITS(Values(left), x1);
  EXPECT_SAME_BITS(Values(right), x2);
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

TEST(Reversible, BadArgumentsNameBothValues) {
  using testing::AllOf;
  using testing::HasSubstr;
  const Stack stack(1, 2, 3);
  const ReversibleBranch f = BranchF(stack.layers[0]), g = BranchG(stack.layers[0]);
  std::vector<float> a(6), b(6), c(6), d(6);
  const View<float, 2> a23(a.data(), {2, 3}), b23(b.data(), {2, 3}), b32(b.data(), {3, 2});
  const View<float, 2> c23(c.data(), {2, 3}), d23(d.data(), {2, 3}), d12(d.data(), {1, 2});
  EXPECT_THAT(MessageOf([&] { ReversibleForward(f, g, a23, b32); }),
              AllOf(HasSubstr("x2"), HasSubstr("(3, 2)"), HasSubstr("(2, 3)")));
  EXPECT_THAT(MessageOf([&] { ReversibleForward(f, g, a23, a23); }), HasSubstr("same memory"));
  EXPECT_THAT(MessageOf([&] { ReversibleBackward(f, g, a23, b23, c23, d12); }),
              AllOf(HasSubstr("dy2"), HasSubstr("(1, 2)"), HasSubstr("(2, 3)")));
  EXPECT_THAT(MessageOf([&] { ReversibleBackward(f, g, a23, b23, d12, d23); }), HasSubstr("dy1"));
}

}  // namespace
}  // namespace longspan
