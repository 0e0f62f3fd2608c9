// The loss of the mean of windows' scores: against the reference, its gradient against the complex
// step, and what it is of one window and of windows that give the truth no probability.
#include "train/window_mean.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "tasks/scores.h"
#include "tests/support/files.h"
#include "tests/support/gradcheck.h"
#include "train/window_mean_ref.h"

namespace longspan {
namespace {

using test::Throws;

constexpr idx_t kMeanLabels = 3;

// Windows of 12, 12 and 5 tokens.
const std::vector<idx_t> kWindowTokens = {12, 12, 5};

struct MeanProblem {
  const char* name;
  SequenceTargets targets;
  std::vector<double> values;  // of the reference
};

const std::vector<std::int32_t> kTrueClass = {1};
const std::vector<float> kMeanWeights = {0.5f, 2.0f, 1.25f}, kTrueSet = {1.0f, 0.0f, 0.25f},
                         kTrueNumbers = {0.75f, -1.5f, 2.0f};

std::vector<MeanProblem> MeanProblems() {
  std::vector<MeanProblem> problems;
  problems.push_back({"one class", {ProblemType::kSingleLabel, kTrueClass, {}}, {0.0, 1.0, 0.0}});
  problems.push_back({"with weights and smoothing",
                      {ProblemType::kSingleLabel, kTrueClass, {}, kMeanWeights, 0.25f},
                      {0.25 / 3.0 * 0.5, 0.25 / 3.0 * 2.0 + 0.75 * 2.0, 0.25 / 3.0 * 1.25}});
  problems.push_back({"a set", {ProblemType::kMultiLabel, {}, kTrueSet}, {1.0, 0.0, 0.25}});
  problems.push_back({"numbers", {ProblemType::kRegression, {}, kTrueNumbers}, {0.75, -1.5, 2.0}});
  return problems;
}

std::vector<float> WindowLogits(std::size_t windows, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> logits;
  for (std::size_t i = 0; i < windows * kMeanLabels; ++i) {
    logits.push_back(static_cast<float>(rng.Below(4001) - 2000) / 500.0f);
  }
  return logits;
}

ScoredWindows WindowsOf(const std::vector<float>& logits, std::span<const double> shares) {
  return {{logits.data(), {std::ssize(logits) / kMeanLabels, kMeanLabels}}, shares};
}

template <class T>
std::vector<std::vector<T>> AsWindows(std::span<const T> flat) {
  std::vector<std::vector<T>> windows;
  for (std::size_t at = 0; at < flat.size(); at += kMeanLabels) {
    const auto own = flat.subspan(at, kMeanLabels);
    windows.emplace_back(own.begin(), own.end());
  }
  return windows;
}

TEST(WindowMean, IsTheReferencesLossAndSoIsItsGradient) {
  const std::vector<float> logits = WindowLogits(kWindowTokens.size(), 3);
  const std::vector<double> inputs(logits.begin(), logits.end());
  const std::vector<double> shares = SharesOfWindows(kWindowTokens);
  for (const MeanProblem& problem : MeanProblems()) {
    SCOPED_TRACE(problem.name);
    std::vector<float> dlogits(logits.size(), NAN);  // it is overwritten
    const ScoredWindows text = WindowsOf(logits, shares);
    const double loss = LossOfWindowMean(problem.targets, text, dlogits.data());
    EXPECT_EQ(loss, LossOfWindowMean(problem.targets, text, nullptr));
    const auto of = [&](auto x) {
      return ref::LossOfWindowMean(problem.targets.problem, AsWindows(x), shares, problem.values);
    };
    const double wanted = of(std::span(inputs));
    EXPECT_GT(wanted, 0.1);
    EXPECT_NEAR(loss, wanted, 1e-13 * (1.0 + wanted));
    const std::vector<double> gradient(dlogits.begin(), dlogits.end());
    const auto complex = [&](std::span<const test::Complex> x) { return of(x); };
    // Roundings to fp32: of a set two slopes, two products and a sum.
    const double rounding = std::ldexp(5.0, -24);
    EXPECT_EQ(test::CheckGradient(complex, inputs, gradient, rounding), "");
    std::vector<double> bug = gradient;
    for (double& x : bug) x *= 1.001;
    EXPECT_NE(test::CheckGradient(complex, inputs, bug, 10.0 * rounding), "");
  }
}

TEST(WindowMean, OfOneWindowIsItsOwnLossBitForBit) {
  const std::vector<float> logits = WindowLogits(1, 4);
  const double share = 1.0;
  const std::vector<MeanProblem> problems = MeanProblems();
  const auto found = [&](std::size_t i) {
    return LossOfWindowMean(problems[i].targets, WindowsOf(logits, {&share, 1}), nullptr);
  };
  const LogitRow row{logits.data(), kMeanLabels, 1};
  EXPECT_EQ(found(0), SoftmaxLoss(row, 1, 1.0f, nullptr));
  EXPECT_NEAR(found(1), SmoothedLoss(row, 1, kMeanWeights, 0.25f, 1.0f, nullptr), 1e-14);
  double set = 0.0;
  for (std::size_t k = 0; k < kTrueSet.size(); ++k) {
    set += BinaryLoss(std::span(logits).subspan(k, 1), std::span(kTrueSet).subspan(k, 1), 1.0f,
                      nullptr);
  }
  EXPECT_EQ(found(2), set);
  EXPECT_NEAR(found(3), SquaredLoss(logits, kTrueNumbers, 1.0f, nullptr), 1e-14);
}

// exp(-2000) is 0 in double. The window that is least wrong learns, and the other one does not.
TEST(WindowMean, HoldsWhereEveryProbabilityIsBelowAllDoubles) {
  const std::vector<float> logits = {2000.0f, 0.0f, 0.0f, 3000.0f, 0.0f, 0.0f};
  const std::vector<double> shares = {0.25, 0.75};
  std::vector<float> dlogits(logits.size());
  const SequenceTargets one{ProblemType::kSingleLabel, kTrueClass, {}};
  EXPECT_NEAR(LossOfWindowMean(one, WindowsOf(logits, shares), dlogits.data()),
              2000.0 - std::log(0.25), 1e-9);
  EXPECT_EQ(dlogits, (std::vector<float>{1.0f, -1.0f, 0.0f, 0.0f, 0.0f, 0.0f}));
  const SequenceTargets set{ProblemType::kMultiLabel, {}, kTrueSet};
  const std::vector<float> sets = {-2000.0f, 2000.0f, 0.0f, -3000.0f, 3000.0f, 0.0f};
  EXPECT_NEAR(LossOfWindowMean(set, WindowsOf(sets, shares), dlogits.data()),
              4000.0 - 2.0 * std::log(0.25) + std::log(2.0), 1e-9);
  EXPECT_FLOAT_EQ(dlogits[0], -1.0f);
  EXPECT_FLOAT_EQ(dlogits[1], 1.0f);
  EXPECT_EQ(dlogits[3], 0.0f);
}

TEST(WindowMean, RefusesWhatDoesNotFit) {
  const std::vector<float> logits = WindowLogits(2, 5);
  const std::vector<double> shares = {1.0};
  const SequenceTargets one{ProblemType::kSingleLabel, kTrueClass, {}};
  EXPECT_TRUE(Throws([&] { LossOfWindowMean(one, WindowsOf(logits, shares), nullptr); },
                     ErrorCode::kUsage, "windows: 1 shares for 2 windows"));
  const std::vector<std::int32_t> other = {3};
  const std::vector<double> both = {0.5, 0.5};
  const SequenceTargets wrong{ProblemType::kSingleLabel, other, {}};
  EXPECT_TRUE(Throws([&] { LossOfWindowMean(wrong, WindowsOf(logits, both), nullptr); },
                     ErrorCode::kUsage, "label 3 is not one of 3"));
}

TEST(WindowLossNames, AreReadAsTheyAreWritten) {
  for (const WindowLoss loss : {WindowLoss::kEach, WindowLoss::kMean}) {
    EXPECT_EQ(ParseWindowLoss(WindowLossName(loss)), loss);
  }
  EXPECT_TRUE(Throws([] { ParseWindowLoss("max"); }, ErrorCode::kUsage, "use each or mean"));
}

}  // namespace
}  // namespace longspan
