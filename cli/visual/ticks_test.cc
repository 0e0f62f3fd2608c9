#include "cli/visual/ticks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longspan::cli {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Labels(const Scale& scale, int count) {
  std::vector<std::string> labels;
  for (const Tick& tick : Ticks(scale, count)) {
    if (!tick.label.empty()) labels.push_back(tick.label);
  }
  return labels;
}

TEST(Ticks, LinearAreRound) {
  EXPECT_THAT(Labels({0, 5000, false}, 5),
              ElementsAre("0", "1000", "2000", "3000", "4000", "5000"));
  EXPECT_THAT(Labels({0, 1, false}, 4), ElementsAre("0", "0.25", "0.50", "0.75", "1.00"));
  EXPECT_THAT(Labels({2.05, 2.4, false}, 4), ElementsAre("2.1", "2.2", "2.3", "2.4"));
  EXPECT_THAT(Labels({-1, 1, false}, 2), ElementsAre("-1", "0", "1"));
  EXPECT_THAT(Labels({0, 50000, false}, 5), ElementsAre("0", "10k", "20k", "30k", "40k", "50k"));
  EXPECT_THAT(Labels({0, 3e-4, false}, 3), ElementsAre("0", "1e-4", "2e-4", "3e-4"));
  EXPECT_THAT(Labels({7.9e8, 8e8, false}, 2), ElementsAre("790M", "795M", "800M"));
}

TEST(Ticks, OfWholeNumbersAreWhole) {
  EXPECT_THAT(Labels({1, 2, false, true}, 8), ElementsAre("1", "2"));
  EXPECT_THAT(Labels({0, 10, false, true}, 4), ElementsAre("0", "5", "10"));
  EXPECT_THAT(Labels({0, 100, false, true}, 4), ElementsAre("0", "25", "50", "75", "100"));
  EXPECT_THAT(Labels({1, 8, true, true}, 6), ElementsAre("1", "2", "3", "4", "5", "6", "8"));
  EXPECT_THAT(Labels({3, 4, true, true}, 8), ElementsAre("3", "4"));
}

TEST(Ticks, LogarithmicHavePowersOfTenAndMinorOnes) {
  EXPECT_THAT(Labels({1, 10000, true}, 6), ElementsAre("1", "10", "100", "1000", "10k"));
  EXPECT_THAT(Labels({1, 100, true}, 6), ElementsAre("1", "2", "5", "10", "20", "50", "100"));
  EXPECT_THAT(Labels({1.2, 7, true}, 6), ElementsAre("1.5", "2", "3", "4", "5", "6"));
  EXPECT_THAT(Labels({2.1, 2.4, true}, 3), ElementsAre("2.1", "2.2", "2.3", "2.4"));
  EXPECT_EQ(Ticks({1, 100, true}, 6).size(), 19u);  // 1..9, 10..90, 100
  EXPECT_LE(Ticks({1e-300, 1e300, true}, 6).size(), 8u);
}

TEST(Ticks, LieInsideTheScaleAndRise) {
  for (const Scale& scale : {Scale{0.1, 0.7, false}, Scale{-3e9, 17, false},
                             Scale{3e-7, 9e-2, true}, Scale{1e15, 1e15 + 10, false}}) {
    const std::vector<Tick> ticks = Ticks(scale, 6);
    EXPECT_GE(ticks.size(), 2u);
    double last = -HUGE_VAL;
    for (const Tick& tick : ticks) {
      EXPECT_GT(tick.value, last);
      EXPECT_GE(scale.Fraction(tick.value), -1e-6);
      EXPECT_LE(scale.Fraction(tick.value), 1 + 1e-6);
      last = tick.value;
    }
  }
}

TEST(FitScale, SurvivesEveryKindOfValue) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(FitScale({}, false, 0).high, 1);
  EXPECT_EQ(FitScale({nan, HUGE_VAL}, true, 0).low, 1);
  const Scale flat = FitScale({3, 3, 3}, false, 0.05);
  EXPECT_LT(flat.low, 3);
  EXPECT_GT(flat.high, 3);
  EXPECT_LT(FitScale({0, 0}, false, 0).low, FitScale({0, 0}, false, 0).high);
  EXPECT_GT(FitScale({-5, 0, 2}, true, 0.05).low, 0);
  EXPECT_EQ(FitScale({0, 10}, false, 0.05).low, 0);  // a loss is not negative: nor is its axis
}

TEST(ShortNumber, ThreeDigits) {
  EXPECT_EQ(ShortNumber(0), "0");
  EXPECT_EQ(ShortNumber(0.82), "0.82");
  EXPECT_EQ(ShortNumber(2.7e-4), "2.7e-4");
  EXPECT_EQ(ShortNumber(1e-3), "0.001");
  EXPECT_EQ(ShortNumber(12.345), "12.3");
  EXPECT_EQ(ShortNumber(1234), "1234");
  EXPECT_EQ(ShortNumber(18432), "18.4k");
  EXPECT_EQ(ShortNumber(999600), "1M");
  EXPECT_EQ(ShortNumber(-2.5e9), "-2.5G");
  EXPECT_EQ(ShortNumber(HUGE_VAL), "inf");
}

}  // namespace
}  // namespace longspan::cli
