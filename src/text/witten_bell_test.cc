#include "text/witten_bell.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "longspan/error.h"

namespace longspan::text {
namespace {

// Counts of "abab" by hand. Empty context: a 2, b 2, n = 4, T = 2. After "a": b 2. After "b": a 1.
TEST(WittenBell, TinyTextByHand) {
  WittenBell model(1);
  model.Train("abab");
  const double a0 = (2 + 2.0 / 256) / (4 + 2);  // p(a | empty) = p(b | empty)
  const double c0 = (0 + 2.0 / 256) / (4 + 2);  // a byte never seen
  EXPECT_DOUBLE_EQ(model.Probability("", 'a'), a0);
  EXPECT_DOUBLE_EQ(model.Probability("", 'c'), c0);
  EXPECT_DOUBLE_EQ(model.Probability("xa", 'b'), (2 + 1 * a0) / (2 + 1));
  EXPECT_DOUBLE_EQ(model.Probability("xa", 'a'), (0 + 1 * a0) / (2 + 1));
  EXPECT_DOUBLE_EQ(model.Probability("b", 'a'), (1 + 1 * a0) / (1 + 1));
  EXPECT_DOUBLE_EQ(model.Probability("b", 'c'), (0 + 1 * c0) / (1 + 1));
  EXPECT_DOUBLE_EQ(model.Probability("z", 'a'), a0);  // context never seen
  // "ba": p(b | empty) p(a | b).
  EXPECT_DOUBLE_EQ(model.BitsPerByte("ba"), -(std::log2(a0) + std::log2((1 + a0) / 2)) / 2);
}

TEST(WittenBell, ProbabilitiesSumToOne) {
  const std::string text = std::string("the cat sat on the mat; \0\xff\xfe the cat", 35);
  for (int order = 0; order <= WittenBell::kMostOrder; ++order) {
    WittenBell model(order);
    model.Train(text);
    for (const std::string history : {"", "t", "th", "the", "the c", "zzz", "q the cat"}) {
      double sum = 0;
      for (int next = 0; next < 256; ++next) {
        sum += model.Probability(history, static_cast<std::uint8_t>(next));
      }
      EXPECT_NEAR(sum, 1, 1e-12) << "order " << order << " after '" << history << "'";
    }
  }
}

TEST(WittenBell, UntrainedIsUniform) { EXPECT_DOUBLE_EQ(WittenBell(3).BitsPerByte("anything"), 8); }

TEST(WittenBell, LongerContextsHelpOnRepetitiveText) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "abcabd"[i % 6];
  double last = 8;
  for (int order = 0; order <= 3; ++order) {
    WittenBell model(order);
    model.Train(text);
    const double bits = model.BitsPerByte(text);
    EXPECT_LT(bits, last) << "order " << order;
    last = bits;
  }
}

TEST(SplitText, HeldOutIsTheFloorAtTheEnd) {
  const Split split = SplitText("0123456789abcdefghi", 0.1);  // floor(1.9)
  EXPECT_EQ(split.train, "0123456789abcdefgh");
  EXPECT_EQ(split.held_out, "i");
  EXPECT_EQ(SplitText("abcd", 0.5).held_out, "cd");
}

TEST(SplitText, RefusesEmptyParts) {
  for (const double fraction : {0.0, 1.0, -0.1, 1.5, 0.05}) {
    EXPECT_THROW(SplitText("0123456789", fraction), Error) << fraction;
  }
  EXPECT_THROW(WittenBell(-1), Error);
  EXPECT_THROW(WittenBell(WittenBell::kMostOrder + 1), Error);
}

}  // namespace
}  // namespace longspan::text
