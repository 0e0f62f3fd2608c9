// The tools that judge everything else: what must not fool them.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "parallel/parallel_for.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/remember.h"
#include "tests/support/runners.h"

namespace longspan::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Tolerance kTight{1e-6, 1e-6};
constexpr Tolerance kLoose{1e9, 0.4};  // its relative bound alone must catch what matters

// --- the comparer

TEST(Compare, AcceptsRoundingAndNamesTheWorstElement) {
  const std::vector<float> actual = {1.0f, 2.0000002f, -3.0f};
  const std::vector<double> expected = {1.0, 2.0, -3.0};
  const Difference difference = Compare(actual, expected, kTight);
  EXPECT_TRUE(difference.ok) << difference.reason;
  EXPECT_EQ(difference.worst, 1);
  EXPECT_NEAR(difference.max_abs, 2.4e-7, 1e-8);
  EXPECT_MATCHES(actual, expected, kTight);
}

TEST(Compare, RejectsNanAndInfinityOnEitherSide) {
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    const std::vector<float> with = {1.0f, bad, 3.0f}, without = {1.0f, 2.0f, 3.0f};
    const std::vector<float> again = with;
    EXPECT_FALSE(Compare(with, without, kLoose).ok);
    EXPECT_FALSE(Compare(without, with, kLoose).ok);
    EXPECT_FALSE(Compare(with, again, kLoose).ok);
    EXPECT_FALSE(Compare(with, ToDouble(without), kLoose).ok);
    EXPECT_FALSE(Compare(ToDouble(without), ToDouble(with), kLoose).ok);
    EXPECT_EQ(Compare(with, without, kLoose).worst, 1);
  }
}

TEST(Compare, RejectsASignFlip) {
  const std::vector<float> expected = RandomNormal(1, 1000);
  std::vector<float> flipped = expected;
  for (float& value : flipped) value = -value;
  EXPECT_FALSE(Compare(flipped, expected, kLoose).ok);
  std::vector<float> one = expected;
  one[17] = -one[17];
  EXPECT_FALSE(Compare(one, expected, kTight).ok);
}

TEST(Compare, RejectsOneWrongElementInAMillion) {
  const std::vector<float> expected = RandomNormal(2, 1000000);
  std::vector<float> actual = expected;
  actual[999999] += 1e-3f;
  const Difference difference = Compare(actual, expected, {1e-4, 1e-4});
  EXPECT_LT(difference.rel_l2, 1e-4);  // the mean does not see it, the maximum does
  EXPECT_FALSE(difference.ok);
  EXPECT_EQ(difference.worst, 999999);
}

TEST(Compare, RejectsZerosShortBuffersAndSharedMemory) {
  const std::vector<float> expected = RandomNormal(3, 64);
  const std::vector<float> zeros(64), shorter(expected.begin(), expected.end() - 1), none;
  EXPECT_FALSE(Compare(zeros, expected, kLoose).ok);
  EXPECT_FALSE(Compare(expected, zeros, kLoose).ok);
  EXPECT_FALSE(Compare(shorter, expected, kLoose).ok);
  EXPECT_FALSE(Compare(expected, shorter, kLoose).ok);
  EXPECT_FALSE(Compare(none, none, kLoose).ok);
  EXPECT_FALSE(Compare(expected, expected, kLoose).ok);
  const std::span<const float> all(expected);
  EXPECT_FALSE(Compare(all.subspan(0, 40), all.subspan(24), {100.0, 0.4}).ok);
  EXPECT_NE(Compare(expected, expected, kLoose).reason.find("share memory"), std::string::npos);
}

TEST(Compare, RejectsAToleranceThatProvesNothing) {
  const std::vector<float> actual = RandomNormal(4, 8), expected = actual;
  EXPECT_TRUE(Compare(actual, expected, {0.0, 0.0}).ok);
  EXPECT_FALSE(Compare(actual, expected, {1.0, 1.0}).ok);
  EXPECT_FALSE(Compare(actual, expected, {kNan, 0.1}).ok);
  EXPECT_FALSE(Compare(actual, expected, {1.0, kNan}).ok);
  EXPECT_FALSE(Compare(actual, expected, {kInfinity, 0.1}).ok);
}

TEST(Compare, ToleranceFollowsTheNaiveError) {
  const std::vector<double> oracle = {1.0, -2.0};
  const std::vector<float> naive = {1.0f + 0x1p-10f, -2.0f}, exact = {1.0f, -2.0f};
  const double floor = 0x1p-22;  // four roundings
  EXPECT_DOUBLE_EQ(DerivedTolerance(naive, oracle, 3.0).max_abs, 3 * 0x1p-10 + 2 * floor);
  EXPECT_DOUBLE_EQ(DerivedTolerance(naive, oracle, 3.0).rel_l2,
                   3 * 0x1p-10 / std::sqrt(5.0) + floor);
  EXPECT_DOUBLE_EQ(DerivedTolerance(exact, oracle, 2.0).max_abs, 2 * floor);
  // A naive run that is nonsense gives a tolerance that the comparer refuses.
  const std::vector<float> broken = {kNan, -2.0f}, again = exact;
  EXPECT_FALSE(Compare(exact, oracle, DerivedTolerance(broken, oracle, 2.0)).ok);
}

TEST(Compare, TheLargestOfSomeTolerancesCounts) {
  const std::vector<double> oracle = {1.0, -2.0}, zero = {1e-17, 0.0};
  const std::vector<float> good = {1.0f, -2.0f}, bad = {1.0f + 0x1p-10f, -2.0f};
  const Tolerance loose = DerivedTolerance(bad, oracle, 2.0);
  for (const bool bad_first : {false, true}) {
    Tolerance most;
    RaiseTolerance(bad_first ? bad : good, oracle, 2.0, &most);
    RaiseTolerance(bad_first ? good : bad, oracle, 2.0, &most);
    RaiseTolerance(bad, zero, 2.0, &most);  // says nothing
    EXPECT_DOUBLE_EQ(most.max_abs, loose.max_abs);
    EXPECT_DOUBLE_EQ(most.rel_l2, loose.rel_l2);
  }
  Tolerance none;
  RaiseTolerance(good, zero, 2.0, &none);
  EXPECT_EQ(none.max_abs, 0.0);
}

TEST(Compare, BitsTellZeroFromMinusZeroAndKeepNan) {
  const std::vector<float> plus = {0.0f, kNan}, minus = {-0.0f, kNan}, same = plus;
  EXPECT_TRUE(CompareBits(plus, same).ok);
  EXPECT_FALSE(CompareBits(plus, minus).ok);
  EXPECT_FALSE(CompareBits(plus, plus).ok);
  EXPECT_FALSE(CompareBits(plus, std::vector<float>{0.0f}).ok);
  EXPECT_SAME_BITS(plus, same);
}

TEST(Compare, ExactZeroIsZeroOnly) {
  EXPECT_EXACTLY_ZERO((std::vector<float>{0.0f, -0.0f}));
  EXPECT_FALSE(CompareToZero(std::vector<float>{0.0f, 1e-45f}).ok);
  EXPECT_FALSE(CompareToZero(std::vector<float>{kNan}).ok);
  EXPECT_FALSE(CompareToZero(std::vector<float>{}).ok);
}

TEST(Compare, MacroNamesWhatFailed) {
  EXPECT_NONFATAL_FAILURE(
      EXPECT_MATCHES((std::vector<float>{1.0f}), (std::vector<float>{2.0f}), kTight),
      "element 0 of 1 is 1, 2 expected");
}

// --- the gradient check: f = sum_i sin(x_i) x_{i+1} + x_0^3

Complex Loss(std::span<const Complex> x) {
  Complex sum = x[0] * x[0] * x[0];
  for (std::size_t i = 0; i + 1 < x.size(); ++i) sum += std::sin(x[i]) * x[i + 1];
  return sum;
}

std::vector<double> LossGradient(std::span<const double> x) {
  std::vector<double> gradient(x.size());
  gradient[0] = 3.0 * x[0] * x[0];
  for (std::size_t i = 0; i + 1 < x.size(); ++i) {
    gradient[i] += std::cos(x[i]) * x[i + 1];
    gradient[i + 1] += std::sin(x[i]);
  }
  return gradient;
}

TEST(CheckGradient, AcceptsTheGradientToTwelveDigits) {
  const std::vector<double> x = ToDouble(RandomNormal(5, 50));
  EXPECT_EQ(CheckGradient(Loss, x, LossGradient(x), 1e-12), "");
}

TEST(CheckGradient, RejectsSmallErrorsSwapsAndMissingTerms) {
  const std::vector<double> x = ToDouble(RandomNormal(6, 50));
  std::vector<double> wrong = LossGradient(x);
  wrong[31] *= 1.0 + 1e-6;
  EXPECT_NE(CheckGradient(Loss, x, wrong), "");
  EXPECT_NE(CheckGradient(Loss, x, wrong).find("input 31 of 50"), std::string::npos);
  wrong = LossGradient(x);
  std::swap(wrong[10], wrong[11]);
  EXPECT_NE(CheckGradient(Loss, x, wrong), "");
  wrong = LossGradient(x);
  wrong[0] -= 3.0 * x[0] * x[0];
  EXPECT_NE(CheckGradient(Loss, x, wrong), "");
  wrong = LossGradient(x);
  wrong[49] = kNan;
  EXPECT_NE(CheckGradient(Loss, x, wrong), "");
}

TEST(CheckGradient, RejectsWhatProvesNothing) {
  const std::vector<double> x = {1.0, 2.0}, zero = {0.0, 0.0};
  const auto constant = [](std::span<const Complex>) { return Complex(3.0); };
  EXPECT_NE(CheckGradient(constant, x, zero), "");
  EXPECT_NE(CheckGradient(Loss, x, std::vector<double>{0.0}), "");
  EXPECT_NE(CheckGradient(Loss, {}, {}), "");
}

TEST(CheckGradient, SamplesIncludeFirstAndLast) {
  const std::vector<double> x = ToDouble(RandomNormal(7, 1000));
  for (const std::size_t at : {std::size_t{0}, std::size_t{999}}) {
    std::vector<double> wrong = LossGradient(x);
    wrong[at] += 1e-3;
    EXPECT_NE(CheckGradient(Loss, x, wrong, 1e-10, 10), "");
  }
}

// --- the thread runner

// Adds 0.1 + 0.2 + ... in as many pieces as there are threads: the mistake to catch.
std::vector<float> SumByThread(Context& context) {
  const std::vector<float> values = RandomNormal(8, 10000);
  const auto pieces = static_cast<std::size_t>(context.threads());
  float total = 0.0f;
  for (std::size_t piece = 0; piece < pieces; ++piece) {
    const auto begin = values.begin() + static_cast<idx_t>(piece * values.size() / pieces);
    const auto end = values.begin() + static_cast<idx_t>((piece + 1) * values.size() / pieces);
    total += std::accumulate(begin, end, 0.0f);
  }
  return {total};
}

std::vector<float> SumByBlock(Context& context) {
  const std::vector<float> values = RandomNormal(8, 10000);
  std::vector<float> sums(100);
  ParallelFor(context, 100, [&](idx_t task, int) {
    const auto begin = values.begin() + task * 100;
    sums[static_cast<std::size_t>(task)] = std::accumulate(begin, begin + 100, 0.0f);
  });
  return sums;
}

TEST(Threads, RunnerRejectsWhatDependsOnTheirNumber) {
  EXPECT_NONFATAL_FAILURE(ExpectSameBitsForAnyThreads(SumByThread), "with ");
  EXPECT_NONFATAL_FAILURE(
      ExpectSameBitsForAnyThreads([](Context&) { return std::vector<float>(3); }), "zeros");
  EXPECT_NONFATAL_FAILURE(ExpectSameBitsForAnyThreads([](Context&) {
                            static int calls = 0;  // a race that only the repeated run shows
                            return std::vector<float>{++calls == 6 ? 1.0f : 2.0f};
                          }),
                          "run 6");
}

TEST(Threads, RunnerAcceptsAFixedSplit) { ExpectSameBitsForAnyThreads(SumByBlock); }

// --- what processes remember for those after them

TEST(Remember, KeysDifferWithEachArgument) {
  const auto key = [](std::string_view name, const std::vector<float>& a, int b) {
    return Key(name).Add(a).Add(b).value();
  };
  const std::uint64_t one = key("f", {1.0f, 2.0f, 3.0f}, 7);
  EXPECT_EQ(key("f", {1.0f, 2.0f, 3.0f}, 7), one);
  EXPECT_NE(key("g", {1.0f, 2.0f, 3.0f}, 7), one);
  EXPECT_NE(key("f", {1.0f, 2.0f, 4.0f}, 7), one);
  EXPECT_NE(key("f", {1.0f, 2.0f}, 7), one);
  EXPECT_NE(key("f", {1.0f, 2.0f, 3.0f}, 8), one);
  // Where one list ends counts too.
  const std::vector<int> none, both = {0, 0}, half = {0};
  EXPECT_NE(Key("f").Add(none).Add(both).value(), Key("f").Add(half).Add(half).value());
}

struct Pair {
  std::vector<double> first, second;
  std::vector<std::vector<double>*> Lists() { return {&first, &second}; }
};

// What a child says of `body`: 0 when it holds.
int InChild(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

TEST(Remember, ALaterProcessFindsWhatAnEarlierOneComputed) {
  const Key key("sum");
  int computed = 0;
  const auto compute = [&]() -> std::vector<double> { return ++computed, std::vector{1.5, -2.0}; };
  Remember(key, compute);
  Remember(key, compute);
  EXPECT_EQ(computed, 2);  // nobody asked to remember
  computed = 0;
  const auto family = [&] {
    ShareMemories(std::size_t{1} << 16);
    const auto get = [&](int more) {
      return InChild([&] { return Remember(key, compute) == compute() && computed == more; });
    };
    // The first child computes for itself and once more to compare, the second to compare alone.
    if (get(2) != 0 || get(1) != 0) return false;
    // An entry that has no room is computed each time, and harms none of the others.
    const std::vector<double> large(10000, 3.0);
    for (int i = 0; i < 2; ++i) {
      if (Remember(Key("large"), [&] { return large; }) != large) return false;
    }
    if (get(1) != 0) return false;
    const std::vector<Tolerance> tolerances = {{1e-3, 2e-3}, {0.0, 4.0}};
    const auto tolerance = [&](bool again) {
      return InChild([&] {
        const auto found = RememberTolerances(
            Key("t"), [&] { return again ? std::vector<Tolerance>() : tolerances; });
        return found.size() == 2 && found[0].rel_l2 == 2e-3 && found[1].max_abs == 0.0;
      });
    };
    if (tolerance(false) != 0 || tolerance(true) != 0) return false;
    const auto pair = [&](double first) {
      return InChild([&] {
        const Pair shape{std::vector<double>(2), std::vector<double>(1)};
        const Pair found = RememberOutputs(Key("p"), shape, [&] {
          return Pair{{first, 2.0}, {3.0}};
        });
        return found.first == std::vector{1.0, 2.0} && found.second == std::vector{3.0};
      });
    };
    const auto lists = [&](double first) {
      return InChild([&] {
        const std::vector<std::vector<double>> expected = {{1.0, 2.0}, {}, {3.0}};
        return RememberLists(Key("l"), [&] {
                 return std::vector<std::vector<double>>{{first, 2.0}, {}, {3.0}};
               }) == expected;
      });
    };
    // The second finds what the first computed.
    return pair(1.0) == 0 && pair(5.0) == 0 && lists(1.0) == 0 && lists(5.0) == 0;
  };
  EXPECT_EQ(InChild(family), 0);
}

}  // namespace
}  // namespace longspan::test
