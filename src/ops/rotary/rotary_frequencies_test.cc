// Frequencies of each kind of rotary embedding against those that `transformers` 5.24.0 on torch
// 2.15.0 computed for heads of 16 channels, theta 1000 and 128 positions.
#include "ops/rotary/rotary_frequencies.h"

#include <gtest/gtest.h>

#include "ops/rotary/rotary.h"
#include "tests/support/compare.h"

namespace longspan {
namespace {

struct RecordedKind {
  const char* name;
  RotarySpec spec;
  idx_t tokens;
  double attention_factor;
  std::vector<float> frequencies;
};

RotarySpec Spec(RotaryKind kind, std::optional<double> factor, idx_t original = 0) {
  RotarySpec spec;
  spec.theta = 1000.0;
  spec.kind = kind;
  spec.max_positions = 128;
  spec.factor = factor;
  spec.original_positions = original;
  return spec;
}

std::vector<RecordedKind> RecordedKinds() {
  RotarySpec told = Spec(RotaryKind::kYarn, std::nullopt, 32);
  told.beta_fast = 8.0;
  told.beta_slow = 2.0;
  told.mscale = 0.7;
  told.mscale_all_dim = 0.5;
  RotarySpec given = Spec(RotaryKind::kYarn, 4.0, 128);
  given.attention_factor = 1.5;
  RotarySpec rope = Spec(RotaryKind::kLongRope, std::nullopt, 32);
  rope.short_factor = {1.0, 1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3};
  rope.long_factor = {1.0, 1.1, 1.3, 1.7, 2.4, 3.5, 5.0, 7.0};
  RotarySpec longer = rope;
  longer.factor = 8.0;
  const std::vector<float> plain = {1.0f,          0.421696514f,  0.177827939f,   0.0749894157f,
                                    0.0316227786f, 0.0133352149f, 0.00562341325f, 0.00237137382f};
  return {
      {"default", Spec(RotaryKind::kDefault, std::nullopt), 10, 1.0, plain},
      {"linear",
       Spec(RotaryKind::kLinear, 3.0),
       10,
       1.0,
       {0.333333343f, 0.1405655f, 0.059275981f, 0.0249964725f, 0.0105409259f, 0.0044450718f,
        0.00187447108f, 0.00079045794f}},
      {"dynamic, as long as the positions", Spec(RotaryKind::kDynamic, 2.0), 128, 1.0, plain},
      {"dynamic",
       Spec(RotaryKind::kDynamic, 2.0),
       200,
       1.0,
       {1.0f, 0.37864691f, 0.143373489f, 0.0542879328f, 0.02055596f, 0.00778345065f, 0.00294717983f,
        0.00111594051f}},
      {"yarn",
       Spec(RotaryKind::kYarn, 4.0, 64),
       10,
       1.138629436111989,
       {1.0f, 0.316272378f, 0.0889139697f, 0.0187473539f, 0.00790569466f, 0.00333380373f,
        0.00140585331f, 0.000592843455f}},
      {"yarn with betas and mscales",
       told,
       10,
       1.0259286501478284,
       {1.0f, 0.263560325f, 0.0444569848f, 0.0187473539f, 0.00790569466f, 0.00333380373f,
        0.00140585331f, 0.000592843455f}},
      {"yarn with an attention factor",
       given,
       10,
       1.5,
       {1.0f, 0.342628419f, 0.111142464f, 0.0328078717f, 0.00790569466f, 0.00333380373f,
        0.00140585331f, 0.000592843455f}},
      {"llama3",
       Spec(RotaryKind::kLlama3, 8.0, 64),
       10,
       1.0,
       {1.0f, 0.421696514f, 0.0643098727f, 0.00937367696f, 0.00395284733f, 0.00166690187f,
        0.000702926656f, 0.000296421727f}},
      {"longrope",
       rope,
       32,
       1.1832159566199232,
       {1.0f, 0.421696514f, 0.169359952f, 0.0681721941f, 0.0274980683f, 0.0111126788f,
        0.00449873041f, 0.00182413368f}},
      {"longrope of longer texts",
       longer,
       33,
       1.2649110640673518,
       {1.0f, 0.383360475f, 0.136790738f, 0.0441114232f, 0.0131761562f, 0.00381006161f,
        0.0011246826f, 0.000338767684f}},
  };
}

// Powers and logarithms of two libraries differ by a bit or two.
TEST(RotaryFrequencies, AreTheOriginals) {
  for (const RecordedKind& kind : RecordedKinds()) {
    std::vector<float> made(8);
    RotaryFrequencies(kind.spec, kind.tokens, made);
    for (std::size_t c = 0; c < 8; ++c) {
      EXPECT_NEAR(made[c], kind.frequencies[c], 2.5e-7f * kind.frequencies[c]) << kind.name << c;
    }
    EXPECT_NEAR(RotaryAttentionFactor(kind.spec), kind.attention_factor, 1e-14) << kind.name;
  }
}

TEST(RotaryFrequencies, TextsOfOneLengthHaveThem) {
  for (const RecordedKind& kind : RecordedKinds()) {
    for (const idx_t tokens : {1, 31, 32, 33, 64, 128, 129, 500}) {
      std::vector<float> own(8), other(8);
      RotaryFrequencies(kind.spec, tokens, own);
      RotaryFrequencies(kind.spec, RotaryLength(kind.spec, tokens), other);
      EXPECT_EQ(own, other) << kind.name << " " << tokens;
    }
  }
}

// Turning back with the same table is the gradient: the factor multiplies it too.
TEST(RotaryFrequencies, TheAttentionFactorScalesBothWays) {
  Context context(1);
  const RotarySpec spec = RecordedKinds()[6].spec;
  Tensor cos({5, 8}), sin({5, 8});
  FillRotaryTable(context, spec, 5, {cos.view<2>(), sin.view<2>()});
  const RotaryTable table{std::as_const(cos).view<2>(), std::as_const(sin).view<2>()};
  for (idx_t i = 0; i < 40; ++i) {
    EXPECT_NEAR(std::hypot(cos.data<float>()[i], sin.data<float>()[i]), 1.5f, 1e-6f);
  }
  const std::vector<float> x = test::RandomNormal(1, 2 * 5 * 16), g = test::RandomNormal(2, 160);
  std::vector<float> y = x, dx = g;
  RotaryForward(context, table, {}, View<float, 4>{y.data(), {1, 2, 5, 16}, {160, 80, 16, 1}});
  RotaryBackward(context, table, {}, View<float, 4>{dx.data(), {1, 2, 5, 16}, {160, 80, 16, 1}});
  double forward = 0.0, backward = 0.0;
  for (std::size_t i = 0; i < 160; ++i) {
    forward += double{y[i]} * double{g[i]};
    backward += double{x[i]} * double{dx[i]};
  }
  EXPECT_NEAR(forward, backward, 1e-4);
}

}  // namespace
}  // namespace longspan
