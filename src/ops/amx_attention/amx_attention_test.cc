// Full and window attention on the tile unit's twin (and on the unit itself, where there is one):
// every length around the edges of blocks, every kind of head size, wide scores, hidden tokens,
// NaN, dropout, keys that pass by, and rows of any layout. The bf16 tests of both mechanisms run on
// this path too.
#include "ops/amx_attention/amx_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/isa.h"
#include "longspan/attention.h"
#include "longspan/error.h"
#include "tests/support/tiles.h"

namespace longspan::test {
namespace {

struct Call {
  FullSpec full;
  WindowSpec window;
  bool windows = false;
  std::vector<std::uint8_t> tokens;  // (B, T): the key mask or the roles; empty: none

  void Run(Bf16Tensors& x, int threads = 2) const {
    Context context(threads);
    const View<const std::uint8_t, 2> marks =
        tokens.empty() ? View<const std::uint8_t, 2>()
                       : View<const std::uint8_t, 2>(tokens.data(), {x.shape[0], x.shape[2]});
    if (windows) {
      WindowForward(context, window, x.Qkv(), marks, x.Saved());
      WindowBackward(context, window, x.Qkv(), marks, x.Saved(), x.Dout(), x.Gradients());
    } else {
      FullForward(context, full, x.Qkv(), marks, x.Saved());
      FullBackward(context, full, x.Qkv(), marks, x.Saved(), x.Dout(), x.Gradients());
    }
  }
};

// Queries times a factor that bf16 holds exactly: scores of another size.
Bf16Tensors Problem(const Bf16Problem& p, float query_factor = 1.0f) {
  Bf16Tensors x(p);
  for (bfloat16& q : x.q) q = ToBfloat16(ToFloat(q) * query_factor);
  return x;
}

// FlashAttention's rule on these very tensors.
std::vector<Tolerance> ToleranceOf(const Bf16Problem& p, const Bf16Tensors& x) {
  return RememberTolerances(Bf16Key("tiles tolerance", p, x), [&] {
    std::vector<Tolerance> most(4);
    RaiseBf16Tolerance(p, x, &most);
    return most;
  });
}

// A gradient that is rounding alone (softmax with one weight of 1) is held to the largest error of
// the naive computation only.
void ExpectWithin(const Bf16Result& y, const std::vector<std::vector<double>>& oracle,
                  std::vector<Tolerance> tolerance) {
  const char* names[] = {"out", "dq", "dk", "dv"};
  const std::vector<float>* parts[] = {&y.out, &y.dq, &y.dk, &y.dv};
  for (std::size_t part = 0; part < 4; ++part) {
    constexpr double kSaysNothing = 0.3;
    const bool says = tolerance[part].max_abs > 0.0 && tolerance[part].rel_l2 < kSaysNothing;
    if (says && oracle[part].size() > 50) {
      const auto d = Compare(std::span<const float>(*parts[part]), oracle[part], tolerance[part]);
      EXPECT_TRUE(d.ok) << names[part] << ": " << d.reason;
      continue;
    }
    for (std::size_t i = 0; i < oracle[part].size(); ++i) {
      const auto error = static_cast<double>((*parts[part])[i]) - oracle[part][i];
      ASSERT_LE(std::abs(error), std::max(tolerance[part].max_abs, 0.02)) << names[part];
    }
  }
}

void CheckOnTiles(const Bf16Problem& p, const Call& call, float query_factor = 1.0f) {
  SCOPED_TRACE(p.Name());
  const Bf16Tensors given = Problem(p, query_factor);
  const auto oracle = Bf16Oracle(p, given);
  const auto tolerance = ToleranceOf(p, given);
  OnTiles([&] {
    Bf16Tensors x = given;
    call.Run(x);
    ExpectWithin(x.Result(), oracle, tolerance);
  });
}

bool InWindow(const WindowSpec& spec, idx_t i, idx_t j) {
  return i - j <= spec.left && j - i <= spec.right;
}

TEST(AmxAttention, EveryLengthAroundTheEdgesOfBlocks) {
  Call full, window;
  window.windows = true;
  for (const idx_t T : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 97, 128, 191, 193, 257}) {
    CheckOnTiles({1, 1, T, 64, [](idx_t, idx_t, idx_t) { return true; }}, full);
    for (const idx_t side : {0, 1, 15, 31, 32, 33, 70}) {
      window.window.left = side;
      window.window.right = side == 15 ? 0 : side;
      const WindowSpec spec = window.window;
      CheckOnTiles({1, 1, T, 64, [=](idx_t, idx_t i, idx_t j) { return InWindow(spec, i, j); }},
                   window);
    }
  }
}

TEST(AmxAttention, HeadSizes) {
  Call full, window;
  full.full.causal = true;
  window.windows = true;
  window.window.left = window.window.right = 40;
  const WindowSpec spec = window.window;
  for (const idx_t D : {16, 17, 31, 32, 33, 48, 64, 65, 80, 96, 100, 128, 160, 192, 255, 256}) {
    CheckOnTiles({1, 1, 130, D, [](idx_t, idx_t i, idx_t j) { return j <= i; }}, full);
    CheckOnTiles({1, 2, 150, D, [=](idx_t, idx_t i, idx_t j) { return InWindow(spec, i, j); }},
                 window);
  }
}

TEST(AmxAttention, WideScoresNeedTheirMaxima) {
  Call full, window;
  window.windows = true;
  window.window.left = window.window.right = 33;
  const WindowSpec spec = window.window;
  // Scores of a few, of tens, of a thousand, and some blocks of each in one call.
  for (const float factor : {2.0f, 4.0f, 16.0f, 512.0f}) {
    for (const idx_t T : {3, 40, 100, 200}) {
      CheckOnTiles({1, 1, T, 64, [](idx_t, idx_t, idx_t) { return true; }}, full, factor);
      CheckOnTiles({1, 1, T, 32, [=](idx_t, idx_t i, idx_t j) { return InWindow(spec, i, j); }},
                   window, factor);
    }
  }
}

TEST(AmxAttention, NegativeScales) {
  const Bf16Problem p{1, 1, 70, 64, {}};
  Call negative, positive;
  negative.full.scale = -p.scale();
  Bf16Tensors x = Problem(p, 8.0f), flipped = Problem(p, -8.0f);
  OnTiles([&] {
    Bf16Tensors a = x, b = flipped;
    negative.Run(a);
    positive.Run(b);
    EXPECT_SAME_BITS(a.Result().out, b.Result().out);
    EXPECT_SAME_BITS(a.Result().dk, b.Result().dk);
  });
}

// What the path that widens to fp32 gives for the same call.
Bf16Tensors Widened(const Call& call, const Bf16Tensors& given) {
  return Widened(given, [&](Bf16Tensors& x) { call.Run(x); });
}

TEST(AmxAttention, KeysThatPassBy) {
  if (ActiveIsa() < Isa::kAvx2) GTEST_SKIP() << "takes a minute without vectors";
  // More keys than lie packed at once: 24 blocks of 256 channels, 96 of 64.
  Call full, causal, window;
  causal.full.causal = true;
  window.windows = true;
  window.window.left = window.window.right = 500;
  for (std::size_t t = 0; t < 900; ++t) {
    window.tokens.push_back(t % 100 == 7 ? 2 : (t % 13 == 5 ? 0 : 1));
  }
  const auto check = [](const Call& call, const Bf16Problem& p, float factor) {
    SCOPED_TRACE(p.Name());
    const Bf16Tensors given = Problem(p, factor), expected = Widened(call, given);
    OnTiles([&] {
      Bf16Tensors x = given;
      call.Run(x);
      const Tolerance tolerance{0.2, 1e-2};
      EXPECT_MATCHES(x.Result().out, expected.Result().out, tolerance);
      EXPECT_MATCHES(x.dv, expected.dv, tolerance);
      if (factor > 1.0f) return;  // gradients of scores are rounding alone
      EXPECT_MATCHES(x.dq, expected.dq, tolerance);
      EXPECT_MATCHES(x.dk, expected.dk, tolerance);
    });
  };
  for (const float factor : {1.0f, 64.0f}) {
    for (const Call& call : {full, causal, window}) check(call, {1, 1, 900, 256, {}}, factor);
  }
  check(full, {1, 1, 3200, 64, {}}, 1.0f);
}

// Beside the window in the forward; in the backward in a pass of their own, several parts of the
// queries with 64 keys at a time, or key by key where there are few.
TEST(AmxAttention, GlobalKeysOfWindows) {
  const idx_t T = 560;
  for (const idx_t every : {idx_t{7}, T / 2}) {
    Call call;
    call.windows = true;
    call.window.left = call.window.right = 9;
    call.window.dilation = {1, 3};
    for (idx_t t = 0; t < T; ++t) {
      call.tokens.push_back(t % every == 1 ? kGlobalToken : kLocalToken);
    }
    for (const bool causal : {false, true}) {
      call.window.causal = causal;
      call.window.dropout = {causal ? 0.3f : 0.0f, 77};
      ExpectTilesMatchWidened(Bf16Tensors(Bf16Problem{1, 2, T, 16, {}}),
                              [&](Bf16Tensors& x) { call.Run(x); });
    }
  }
}

TEST(AmxAttention, HiddenKeysAndQueriesThatSeeNone) {
  for (const bool causal : {false, true}) {
    for (const idx_t first : {1, 31, 40, 90}) {
      Call call;
      call.full.causal = causal;
      const idx_t T = 90;
      for (idx_t t = 0; t < T; ++t) call.tokens.push_back(t >= first && t % 7 != 3 ? 1 : 0);
      // A query without a visible key weighs all keys; its weights are constants.
      idx_t visible = 0;
      while (visible < T && call.tokens[static_cast<std::size_t>(visible)] == 0) ++visible;
      const Bf16Problem p{1, 2, T, 48, {}};
      const Bf16Tensors given(p), expected = Widened(call, given);
      OnTiles([&] {
        Bf16Tensors x = given;
        call.Run(x);
        const Tolerance tolerance{0.1, 1e-2};
        EXPECT_MATCHES(x.Result().out, expected.Result().out, tolerance);
        EXPECT_MATCHES(x.dv, expected.dv, tolerance);
        EXPECT_MATCHES(x.lse, expected.lse, (Tolerance{1e-2, 1e-2}));
        if (visible == T) {
          EXPECT_EXACTLY_ZERO(x.dq);
          EXPECT_EXACTLY_ZERO(x.dk);
        } else {
          EXPECT_MATCHES(x.dq, expected.dq, tolerance);
          EXPECT_MATCHES(x.dk, expected.dk, tolerance);
        }
      });
    }
  }
}

// A hidden token of a window may hold anything; a visible NaN is not lost.
TEST(AmxAttention, NaN) {
  const Bf16Problem p{1, 1, 200, 64, {}};
  const idx_t odd = 70, at = odd * p.D + 5;
  Call call;
  call.windows = true;
  call.window.left = call.window.right = 20;
  call.tokens.assign(200, 1);
  for (const std::uint8_t role : {kHiddenToken, kLocalToken}) {
    call.tokens[odd] = role;
    for (int which = 0; which < 4; ++which) {
      SCOPED_TRACE(which);
      OnTiles([&] {
        Bf16Tensors x(p);
        auto* tensor = which == 0 ? &x.q : (which == 1 ? &x.k : (which == 2 ? &x.v : &x.dout));
        (*tensor)[at] = bfloat16{0x7fc0};
        call.Run(x);
        const auto nans = [&](const std::vector<float>& y, idx_t t) {
          const auto row = y.begin() + t * p.D;
          return std::any_of(row, row + p.D, [](float v) { return std::isnan(v); });
        };
        const Bf16Result y = x.Result();
        // Rows two blocks away see nothing of it.
        for (const idx_t far : {0, 10, 150, 199}) {
          EXPECT_FALSE(nans(y.out, far) || nans(y.dq, far) || nans(y.dk, far) || nans(y.dv, far));
        }
        const bool hidden = role == kHiddenToken;
        if (which < 3) {
          EXPECT_EQ(nans(y.out, which == 0 ? odd : odd + 3), !hidden);
        }
        EXPECT_EQ(nans(y.dk, odd + 3) || nans(y.dv, odd + 3), !hidden) << "seen with the row";
        if (hidden) {
          for (idx_t t = 0; t < p.T; ++t) ASSERT_FALSE(nans(y.out, t) || nans(y.dq, t)) << t;
        }
      });
    }
  }
}

TEST(AmxAttention, DropoutDropsWhatTheOtherPathsDrop) {
  for (const bool windows : {false, true}) {
    for (const idx_t D : {48, 64, 128}) {
      const Bf16Problem p{2, 2, 150, D, {}};
      Call call;
      call.windows = windows;
      call.full.dropout = call.window.dropout = {0.3f, 77};
      call.window.left = 50;
      call.window.right = 45;
      for (std::size_t t = 0; windows && t < 300; ++t) {
        call.tokens.push_back(t % 150 == 3 ? 2 : (t % 17 == 5 ? 0 : 1));
      }
      const Bf16Tensors given(p), expected = Widened(call, given);
      OnTiles([&] {
        Bf16Tensors x = given;
        call.Run(x);
        // A weight dropped by one path alone is an error of 1e-1.
        const Tolerance tolerance{0.2, 1e-2};
        EXPECT_MATCHES(x.Result().out, expected.Result().out, tolerance);
        EXPECT_MATCHES(x.dq, expected.dq, tolerance);
        EXPECT_MATCHES(x.dk, expected.dk, tolerance);
        EXPECT_MATCHES(x.dv, expected.dv, tolerance);
      });
    }
  }
}

TEST(AmxAttention, AnyLayoutAndANumberOfThreadsGiveTheSameBits) {
  // q, k and v are columns of one matrix (T, 3 H D), as a layer's projection writes them.
  const idx_t H = 3, T = 180, D = 64, C = H * D;
  const Bf16Problem p{1, H, T, D, {}};
  for (const bool windows : {false, true}) {
    Call call;
    call.windows = windows;
    call.window.left = call.window.right = 37;
    OnTiles([&] {
      Bf16Tensors x(p);
      std::vector<bfloat16> joined(static_cast<std::size_t>(T * 3 * C));
      for (idx_t part = 0; part < 3; ++part) {
        const auto& from = part == 0 ? x.q : (part == 1 ? x.k : x.v);
        for (idx_t h = 0; h < H; ++h) {
          for (idx_t t = 0; t < T; ++t) {
            std::copy_n(from.begin() + (h * T + t) * D, D,
                        joined.begin() + t * 3 * C + part * C + h * D);
          }
        }
      }
      call.Run(x, 1);
      const auto view = [&](idx_t part) {
        return View<const bfloat16, 4>(joined.data() + part * C, {1, H, T, D},
                                       {T * 3 * C, D, 3 * C, 1});
      };
      for (const int threads : {1, 2, 5}) {
        Bf16Tensors y(p);
        Context context(threads);
        const Bf16Qkv qkv{view(0), view(1), view(2)};
        if (windows) {
          WindowForward(context, call.window, qkv, {}, y.Saved());
          WindowBackward(context, call.window, qkv, {}, y.Saved(), y.Dout(), y.Gradients());
        } else {
          FullForward(context, call.full, qkv, {}, y.Saved());
          FullBackward(context, call.full, qkv, {}, y.Saved(), y.Dout(), y.Gradients());
        }
        EXPECT_SAME_BITS(y.Result().out, x.Result().out);
        EXPECT_SAME_BITS(y.lse, x.lse);
        EXPECT_SAME_BITS(y.dq, x.dq);
        EXPECT_SAME_BITS(y.dk, x.dk);
        EXPECT_SAME_BITS(y.dv, x.dv);
      }
    });
  }
}

TEST(AmxAttention, TheUnitAndItsTwinGiveTheSameBits) {
  if (ActiveIsa() < Isa::kAmx || !PermitTiles()) GTEST_SKIP() << "this machine has no tile unit";
  const std::optional<Bf16Path> before = ForcedBf16Path();
  for (const idx_t D : {32, 64, 96, 128, 256}) {
    for (const float factor : {1.0f, 64.0f, 0x1p-60f}) {  // small, wide, subnormal products
      for (const bool windows : {false, true}) {
        SCOPED_TRACE(std::to_string(D) + " " + std::to_string(factor));
        Call call;
        call.windows = windows;
        call.full.causal = true;
        call.window.left = call.window.right = 45;
        call.full.dropout = call.window.dropout = {0.1f, 3};
        Bf16Tensors unit = Problem({1, 2, 300, D, {}}, factor), twin = unit;
        if (factor > 1.0f) unit.v[7] = twin.v[7] = bfloat16{0x7f80};  // infinity
        ForceBf16Path(Bf16Path::kTiles);
        call.Run(unit);
        ForceBf16Path(Bf16Path::kTwin);
        call.Run(twin);
        const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
          return std::equal(a.begin(), a.end(), b.begin(), [](float x, float y) {
            return (std::isnan(x) && std::isnan(y)) ||
                   std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
          });
        };
        EXPECT_TRUE(same(unit.Result().out, twin.Result().out) && same(unit.lse, twin.lse));
        EXPECT_TRUE(same(unit.dq, twin.dq) && same(unit.dk, twin.dk) && same(unit.dv, twin.dv));
      }
    }
  }
  ForceBf16Path(before);
}

TEST(AmxAttention, GradientsAreAddedAndDeltaMayBeGiven) {
  const Bf16Problem p{1, 1, 100, 64, {}};
  OnTiles([&] {
    Bf16Tensors x(p), y(p);
    Call().Run(x);
    std::vector<float> delta(100, 0.0f);
    for (std::size_t t = 0; t < 100; ++t) {
      for (std::size_t d = 0; d < 64; ++d) {
        delta[t] += ToFloat(x.out[t * 64 + d]) * ToFloat(x.dout[t * 64 + d]);
      }
    }
    y.out = y.dout;  // is not read
    y.lse = x.lse;
    for (auto* gradient : {&y.dq, &y.dk, &y.dv})
      std::fill(gradient->begin(), gradient->end(), 1.0f);
    Context context(2);
    Bf16AttentionSaved saved = y.Saved();
    saved.delta = {delta.data(), {1, 1, 100}};
    FullBackward(context, {}, y.Qkv(), {}, saved, y.Dout(), y.Gradients());
    const auto less_one = [](std::vector<float> values) {
      for (float& v : values) v -= 1.0f;
      return values;
    };
    const Tolerance tolerance{2e-2, 3e-3};
    EXPECT_MATCHES(less_one(y.dq), x.dq, tolerance);
    EXPECT_MATCHES(less_one(y.dk), x.dk, tolerance);
    EXPECT_MATCHES(less_one(y.dv), x.dv, tolerance);
  });
}

TEST(AmxAttention, APlantedFaultIsFound) {
  // One key too many in a window of 17 moves every part beyond the rule.
  WindowSpec right, wrong;
  right.left = right.right = 8;
  wrong.left = 8;
  wrong.right = 9;
  const Bf16Problem p{1, 1, 97, 64, [=](idx_t, idx_t i, idx_t j) { return InWindow(right, i, j); }};
  const Bf16Tensors given(p);
  const auto oracle = Bf16Oracle(p, given);
  const auto tolerance = ToleranceOf(p, given);
  Call call;
  call.windows = true;
  call.window = wrong;
  OnTiles([&] {
    Bf16Tensors x = given;
    call.Run(x);
    const Bf16Result y = x.Result();
    const std::vector<float>* parts[] = {&y.out, &y.dq, &y.dk, &y.dv};
    for (std::size_t part = 0; part < 4; ++part) {
      EXPECT_FALSE(Compare(std::span<const float>(*parts[part]), oracle[part], tolerance[part]).ok);
    }
  });
}

TEST(AmxAttention, LargeHeadsAndScalesNearZeroTakeTheOtherKernels) {
  EXPECT_TRUE(AmxTakes(256, 0.125f));
  EXPECT_FALSE(AmxTakes(257, 0.125f));
  EXPECT_FALSE(AmxTakes(64, 1e-30f));
  Call call;
  CheckOnTiles({1, 1, 40, 260, [](idx_t, idx_t, idx_t) { return true; }}, call);
}

TEST(AmxAttention, TilesNeedTheUnit) {
  if (ActiveIsa() >= Isa::kAmx && PermitTiles()) {
    EXPECT_EQ(ActiveBf16Path(), ForcedBf16Path().value_or(Bf16Path::kTiles));
    return;
  }
  EXPECT_THROW(ForceBf16Path(Bf16Path::kTiles), Error);
}

// ---- plans --------------------------------------------------------------------------------------

TEST(AmxPlans, AWindowMeetsItsKeysAtOnceAndLongRowsPassBy) {
  AmxPlan plan;
  plan.D = 64;
  PlanAmxForward(16384, 256, 256, 1, 12, 2, &plan);
  EXPECT_TRUE(plan.whole);
  EXPECT_EQ(plan.most_blocks, 18);
  EXPECT_LE(plan.run + 16, plan.held);
  PlanAmxForward(16384, 16384, 16384, 0, 12, 2, &plan);
  EXPECT_FALSE(plan.whole);
  EXPECT_EQ(plan.held, 64);
  EXPECT_LE(AmxForwardBytes(plan), std::size_t{2} << 20);
  // One head on two threads still has several tasks for each.
  PlanAmxForward(4096, 4096, 4096, 0, 1, 2, &plan);
  EXPECT_GE(CeilDiv(128, plan.run), 8);
}

TEST(AmxPlans, EveryShapeHasRoomForWhatItSees) {
  for (const idx_t D : {16, 64, 96, 256}) {
    for (const idx_t keys : {1, 33, 700, 5000}) {
      for (const idx_t side : {0, 1, 40, 300, 2000, 5000}) {
        for (const idx_t globals : {0, 1, 300, 5000}) {
          AmxPlan plan;
          plan.D = D;
          PlanAmxForward(keys, side, side, globals, 3, 4, &plan);
          EXPECT_GE(plan.run, 1);
          EXPECT_LE(plan.run, 64);
          EXPECT_GE(plan.held, 1);
          if (!plan.whole) continue;
          const idx_t blocks = CeilDiv(keys, kAmxBlock);
          const idx_t span = std::min(blocks, 2 * CeilDiv(side, kAmxBlock) + 1);
          EXPECT_GE(plan.held, std::min(blocks, plan.run + span - 1));
          EXPECT_GE(plan.most_blocks, span + CeilDiv(globals, kAmxBlock));
        }
      }
    }
  }
}

}  // namespace
}  // namespace longspan::test
