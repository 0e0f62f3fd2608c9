// Window attention on bf16 inputs, on every path that bf16 products can take.
#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "tests/support/bf16_attention.h"

namespace longspan::test {
namespace {

struct Window {
  WindowSpec spec;
  std::vector<std::uint8_t> roles;  // (B, T) or empty

  TokenRoles Roles(const Bf16Problem& p) const {
    return roles.empty() ? TokenRoles() : TokenRoles(roles.data(), {p.B, p.T});
  }
  bool Sees(const Bf16Problem& p, idx_t head, idx_t i, idx_t j) const {
    const auto role = [&](idx_t t) {
      return roles.empty() ? kLocalToken : roles[static_cast<std::size_t>(head / p.H * p.T + t)];
    };
    if (role(i) != kLocalToken || role(j) == kHiddenToken || (spec.causal && j > i)) return false;
    if (role(j) == kGlobalToken) return true;
    const idx_t step =
        spec.dilation.empty() ? 1 : spec.dilation[static_cast<std::size_t>(head % p.H)];
    return (j - i) % step == 0 && (i - j) / step <= spec.left && (j - i) / step <= spec.right;
  }
  void Run(Context& context, const Bf16Problem& p, Bf16Tensors& x) const {
    WindowForward(context, spec, x.Qkv(), Roles(p), x.Saved());
    WindowBackward(context, spec, x.Qkv(), Roles(p), x.Saved(), x.Dout(), x.Gradients());
  }
};

void CheckWindow(const Window& w, idx_t T, idx_t D, idx_t B = 1, idx_t H = 1) {
  Bf16Problem p{B, H, T, D, {}};
  p.visible = [&w, &p](idx_t head, idx_t i, idx_t j) { return w.Sees(p, head, i, j); };
  CheckBf16(p, [&](Context& context, Bf16Tensors& x) { w.Run(context, p, x); });
}

TEST(WindowBf16, LengthsAndHeadSizes) {
  for (const bool causal : {false, true}) {
    Window w;
    w.spec.left = 17;
    w.spec.right = 9;
    w.spec.causal = causal;
    for (const idx_t T : {1, 2, 11, 48, 65, 131, 259}) {
      for (const idx_t D : {1, 5, 20, 64}) CheckWindow(w, T, D);
    }
    CheckWindow(w, 90, 128);
    w.spec.left = 150;  // several tiles of keys
    CheckWindow(w, 300, 16);
  }
}

TEST(WindowBf16, RolesAndDilations) {
  for (const bool causal : {false, true}) {
    for (const idx_t T : {7, 70, 151}) {
      Window w;
      w.spec.left = w.spec.right = 20;
      w.spec.causal = causal;
      for (idx_t t = 0; t < 2 * T; ++t) {
        w.roles.push_back(static_cast<std::uint8_t>(t % T == 0 || t % 11 == 4 ? 2 : t % 7 != 3));
      }
      CheckWindow(w, T, 12, 2, 2);
      w.spec.dilation = {1, 3};
      CheckWindow(w, T, 12, 2, 2);
    }
  }
}

TEST(WindowBf16, WeightsThatDropoutZeroes) {
  // The same key for both paths: they drop the same weights.
  const Bf16Problem p{1, 2, 100, 16, [](idx_t, idx_t, idx_t) { return true; }};
  Window w;
  w.spec.left = w.spec.right = 30;
  w.spec.dropout = {0.5f, 99};
  std::vector<Bf16Result> results;
  ForEachBf16Path([&] {
    Bf16Tensors x(p);
    Context context(1);
    w.Run(context, p, x);
    results.push_back(x.Result());
  });
  for (const Bf16Result& y : results) {
    const auto tolerance = Tolerance{0.2, 2e-2};
    EXPECT_MATCHES(std::span<const float>(y.out), ToDouble(std::vector<float>(results[0].out)),
                   tolerance);
    EXPECT_MATCHES(std::span<const float>(y.dv), ToDouble(std::vector<float>(results[0].dv)),
                   tolerance);
    EXPECT_MATCHES(std::span<const float>(y.dk), ToDouble(std::vector<float>(results[0].dk)),
                   tolerance);
  }
}

TEST(WindowBf16, AWindowOffByOneIsFound) {
  Window w, wrong;
  w.spec.left = w.spec.right = 8;
  wrong.spec.left = 8;
  wrong.spec.right = 9;
  Bf16Problem p{1, 1, 60, 16, {}};
  p.visible = [&](idx_t head, idx_t i, idx_t j) { return w.Sees(p, head, i, j); };
  const auto tolerance = Bf16Tolerance(p);
  Bf16Tensors x(p);
  const auto oracle = Bf16Oracle(p, x);
  Context context(1);
  wrong.Run(context, p, x);
  const Tolerance tenfold{10 * tolerance[0].max_abs, 10 * tolerance[0].rel_l2};
  EXPECT_FALSE(Compare(std::span<const float>(x.Result().out), oracle[0], tenfold).ok);
}

TEST(WindowBf16, PairsNeedTheInstruction) {
  if (ActiveIsa() >= Isa::kAvx512Bf16) GTEST_SKIP() << "this machine has it";
  EXPECT_THROW(ForceBf16Path(Bf16Path::kPairs), Error);
  EXPECT_EQ(ActiveBf16Path(), ForcedBf16Path().value_or(Bf16Path::kWiden));
}

}  // namespace
}  // namespace longspan::test
