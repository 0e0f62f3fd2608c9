#include "tests/toys/mean_attention/mean_attention.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "longspan/error.h"
#include "tests/toys/mean_attention/row.h"

// The common tests of src/catalogue/catalogue_test.cc, which are part of this program, run over
// this table.
namespace longspan::catalogue {

std::span<const Mechanism* const> Mechanisms() {
  static const Mechanism* const kRows[] = {&toys::MeanMechanism()};
  return kRows;
}

}  // namespace longspan::catalogue

namespace longspan::toys {
namespace {

using testing::ElementsAre;
using testing::Pointwise;

// One head of four tokens, D = 1.
struct Small {
  std::vector<float> v = {6.0f, 2.0f, 100.0f, 1.0f}, dout = {1.0f, 2.0f, 4.0f, 6.0f};
  std::vector<float> out = {9.0f, 9.0f, 9.0f, 9.0f}, lse = out, dq = out, dk = out, dv = out;
  std::vector<std::uint8_t> exists = {1, 1, 0, 1};
  MeanSpec spec;

  void Run(bool masked) {
    Context context(2);
    const std::array<idx_t, 4> shape = {1, 1, 4, 1};
    const View<const float, 4> in(v.data(), shape);
    const AttentionSaved saved{{out.data(), shape}, {lse.data(), {1, 1, 4}}};
    const KeyMask mask = masked ? KeyMask(exists.data(), {1, 4}) : KeyMask();
    MeanForward(context, spec, {in, in, in}, mask, saved);
    MeanBackward(context, spec, {in, in, in}, mask, saved, {dout.data(), shape},
                 {{dq.data(), shape}, {dk.data(), shape}, {dv.data(), shape}});
  }
};

TEST(MeanAttention, TakesTheMeanOfWhatItMaySee) {
  Small causal;
  causal.spec.causal = true;
  causal.Run(true);
  EXPECT_THAT(causal.out, ElementsAre(6.0f, 4.0f, 4.0f, 3.0f));
  EXPECT_THAT(causal.lse, Pointwise(testing::FloatEq(),
                                    {0.0f, std::log(2.0f), std::log(2.0f), std::log(3.0f)}));
  // 9 + dout over the numbers of keys 1, 2, 2, 3, from the token on.
  EXPECT_THAT(causal.dv, ElementsAre(15.0f, 14.0f, 9.0f, 11.0f));
  EXPECT_THAT(causal.dq, ElementsAre(9.0f, 9.0f, 9.0f, 9.0f));
  Small all;
  all.Run(true);
  EXPECT_THAT(all.out, ElementsAre(3.0f, 3.0f, 3.0f, 3.0f));
  EXPECT_THAT(all.dv, Pointwise(testing::FloatNear(1e-5f),
                                {9.0f + 13.0f / 3, 9.0f + 13.0f / 3, 9.0f, 9.0f + 13.0f / 3}));
}

TEST(MeanAttention, SeesNothing) {
  Small small;
  small.exists = {0, 0, 0, 0};
  small.Run(true);
  EXPECT_THAT(small.out, ElementsAre(0.0f, 0.0f, 0.0f, 0.0f));
  EXPECT_THAT(small.dv, ElementsAre(9.0f, 9.0f, 9.0f, 9.0f));
  EXPECT_TRUE(std::isinf(small.lse[0]));
}

TEST(MeanAttention, RefusesDropout) {
  Small small;
  small.spec.dropout.p = 0.1f;
  EXPECT_THROW(small.Run(false), Error);
}

}  // namespace
}  // namespace longspan::toys
