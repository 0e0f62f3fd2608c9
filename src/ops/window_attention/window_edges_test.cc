// Window attention: edges, receptive fields, same bits, bad arguments.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/window_attention/window_attention.h"
#include "ops/window_attention/window_attention_test.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan::test {
namespace {

// ---- how the work is cut ------------------------------------------------------------------------

// In a wave no two tasks have a key or a query in common, and all pairs that see each other meet
// once.
TEST(WindowPlan, WavesMeetEveryPairOnce) {
  for (const idx_t T : {1, 100, 1000, 3000}) {
    for (const auto& [left, right] : {std::pair<idx_t, idx_t>{0, 0}, {5, 300}, {700, 700}}) {
      WindowSpec spec;
      spec.left = left;
      spec.right = right;
      const WindowPlan plan = MakeWindowPlan(spec, {1, 1, T, 8}, 0);
      std::set<std::pair<idx_t, idx_t>> met;
      for (idx_t wave = 0; wave < plan.Waves(); ++wave) {
        std::set<idx_t> keys, queries;
        for (idx_t i = 0; i < plan.PairsOfWave(wave); ++i) {
          const auto pair = plan.PairOf(wave, i);
          std::set<idx_t> own;
          for (idx_t j = pair.keys; j < std::min(pair.last_keys, T); j += 25) {
            ASSERT_TRUE(keys.insert(j).second);
            for (idx_t q = std::max(pair.queries, j - plan.right);
                 q < std::min({pair.last_queries, T, j + plan.left + 1}); ++q) {
              ASSERT_TRUE(met.insert({j, q}).second) << T << " " << left << " " << j << " " << q;
              own.insert(q);
            }
          }
          for (const idx_t q : own) ASSERT_TRUE(queries.insert(q).second) << T << " " << q;
        }
      }
      for (idx_t j = 0; j < T; j += 25) {
        if (j % plan.group % 25 != 0) continue;  // not looked at above
        for (idx_t q = std::max<idx_t>(0, j - right); q < std::min(T, j + left + 1); ++q) {
          ASSERT_TRUE(met.count({j, q})) << T << " " << left << " " << j << " " << q;
        }
      }
    }
  }
}

TEST(WindowPlan, ScratchStaysSmall) {
  for (const idx_t w : {64, 256, 512, 4096, 100000}) {
    for (const idx_t D : {64, 256}) {
      for (const idx_t G : {0, 1, 64, 5000}) {
        WindowSpec spec;
        spec.left = spec.right = w;
        const WindowPlan plan = MakeWindowPlan(spec, {1, 12, 65536, D}, G);
        EXPECT_LE(TaskScratchBytes(plan.forward, plan.forward_rows, false, plan.forward_rings),
                  std::size_t{1} << 20)
            << w << " " << D;
        EXPECT_LE(TaskScratchBytes(plan.backward, BlockPlan::kRows, true, plan.backward_rings),
                  std::size_t{1} << 20)
            << w << " " << D;
      }
    }
  }
}

// ---- edges --------------------------------------------------------------------------------------

// What changes when key j changes: exactly the rows that the paper says.
TEST(WindowAttention, ReceptiveField) {
  Context context(2);
  Case c = MakeCase(120, 9, 4, 4, 1, 2);
  c.spec.dilation = {1, 3};
  c.SetRoles(MakeRoles(c, Layout::kFirst));
  c.roles[77] = 2;
  c.SetRoles(c.roles);
  for (const bool causal : {false, true}) {
    c.spec.causal = causal;
    const Inputs x(c);
    const auto y = RunKernel(context, c, x);
    for (const idx_t j : {0, 1, 50, 77, 119}) {
      Inputs changed = x;
      for (idx_t h = 0; h < 2; ++h) {
        for (auto* a : {&changed.v, &changed.vg}) {
          (*a)[static_cast<std::size_t>((h * 120 + j) * 4)] += 1e4f;
        }
      }
      const auto z = RunKernel(context, c, changed);
      for (idx_t h = 0; h < 2; ++h) {
        for (idx_t i = 0; i < 120; ++i) {
          const auto at = static_cast<std::size_t>((h * 120 + i) * 4);
          EXPECT_EQ(y.out[at] != z.out[at], ref::WindowSees(c.spec, c.shape, c.roles, 0, h, i, j))
              << "head " << h << " query " << i << " key " << j;
        }
      }
    }
  }
}

TEST(WindowAttention, HiddenTokensGetNothing) {
  Context context(2);
  for (const Layout layout : {Layout::kPadded, Layout::kHoles, Layout::kAllHidden}) {
    Case c = MakeCase(150, 20, 20, 6);
    c.SetRoles(MakeRoles(c, layout));
    const auto y = RunKernel(context, c, Inputs(c));
    for (idx_t t = 0; t < 150; ++t) {
      if (c.roles[static_cast<std::size_t>(t)] != 0) continue;
      EXPECT_EQ(y.lse[static_cast<std::size_t>(t)], -HUGE_VALF);
      for (idx_t d = 0; d < 6; ++d) {
        const auto at = static_cast<std::size_t>(t * 6 + d);
        for (const auto* a : {&y.out, &y.dq, &y.dk, &y.dv, &y.dkg, &y.dvg}) {
          ASSERT_EQ((*a)[at], 0.0f) << t;
        }
      }
    }
  }
}

// Whatever hidden tokens hold, and whatever dout has in their rows: the same bits everywhere else.
TEST(WindowAttention, HiddenTokensLeaveNoTrace) {
  Context context(2);
  for (const bool causal : {false, true}) {
    Case c = MakeCase(300, 40, 30, 12, 1, 2);
    c.spec.causal = causal;
    c.spec.dilation = {1, 2};
    c.SetRoles(MakeRoles(c, Layout::kHoles));
    Inputs x(c);
    const auto want = RunKernel(context, c, x);
    for (std::size_t i = 0; i < x.q.size(); ++i) {
      const std::size_t t = i / 12 % 300;
      if (c.roles[t] != 0) continue;
      const float junk = t % 2 == 0 ? kNan : HUGE_VALF;
      for (auto* a : {&x.q, &x.k, &x.v, &x.dout, &x.kg, &x.vg}) (*a)[i] = junk;
    }
    EXPECT_SAME_BITS(RunKernel(context, c, x).All(), want.All());
  }
}

// Rows beyond a sequence's count of global tokens may hold anything; rows of global tokens do not
// use the local queries.
TEST(WindowAttention, RowsThatNobodyReads) {
  Context context(2);
  Case c = MakeCase(90, 10, 10, 8, 2);
  c.SetRoles(MakeRoles(c, Layout::kRagged));
  Inputs x(c);
  const auto want = RunKernel(context, c, x);
  std::fill_n(x.qg.data(), c.shape.G * 8, kNan);  // the first row of the batch has none
  for (std::size_t i = 0; i < x.q.size(); ++i) {
    if (c.roles[i / 8] == 2) x.q[i] = kNan;
  }
  EXPECT_SAME_BITS(RunKernel(context, c, x).All(), want.All());
}

// Local rows are left to WindowForward, global ones to GlobalForward.
TEST(WindowAttention, EachWritesItsOwnRows) {
  Context context(1);
  Case c = MakeCase(20, 3, 3, 4);
  c.SetRoles(MakeRoles(c, Layout::kEnds));
  Inputs x(c);
  Outputs<float> y(c);
  std::fill(y.out.begin(), y.out.end(), 7.0f);
  std::fill(y.lse.begin(), y.lse.end(), 7.0f);
  const View<float, 4> out(y.out.data(), c.extents());
  const View<const float, 4> in(x.q.data(), c.extents());
  const AttentionSaved saved{out, {y.lse.data(), {1, 1, 20}}};
  WindowForward(context, c.spec, {in, in, in}, c.Roles(), saved);
  for (const std::size_t t : {0u, 19u}) {
    EXPECT_EQ(y.lse[t], 7.0f);
    EXPECT_EQ(y.out[t * 4], 7.0f);
  }
  const auto before = y.out;
  GlobalForward(context, c.spec, {{x.qg.data(), c.global_extents()}, in, in}, c.Roles(), saved);
  EXPECT_TRUE(std::equal(y.out.begin() + 4, y.out.end() - 4, before.begin() + 4));
  EXPECT_NE(y.out[0], 7.0f);
  EXPECT_NE(y.lse[19], 7.0f);
}

// Roles above 2 count as local, as the original's mask does.
// Global tokens that the caller has found give the bits of those that each call finds.
TEST(WindowAttention, GlobalTokensFoundOnce) {
  Case c = MakeCase(70, 5, 4, 6, 2, 2);
  ref::Roles roles(140, kLocalToken);
  for (const std::size_t t : {0, 9, 33, 69, 71}) roles[t] = kGlobalToken;
  roles[120] = kHiddenToken;
  c.SetRoles(roles);
  const Inputs x(c);
  Context context(2);
  const auto each = RunKernel(context, c, x).All();
  const GlobalTokens found = FindGlobalTokens(c.Roles(), 2);
  EXPECT_EQ(found.most, 4);
  EXPECT_EQ(found.positions, (std::vector<idx_t>{0, 9, 33, 69, 1}));
  EXPECT_EQ(found.first, (std::vector<idx_t>{0, 4, 5}));
  c.spec.globals = &found;
  EXPECT_SAME_BITS(RunKernel(context, c, x).All(), each);
  // Those of another batch are refused.
  const GlobalTokens other = FindGlobalTokens({}, 3);
  c.spec.globals = &other;
  EXPECT_TRUE(Throws([&] { RunKernel(context, c, x); }, ErrorCode::kUsage,
                     "global tokens of 3 rows are given for 2"));
}

TEST(WindowAttention, OddRoles) {
  Context context(1);
  Case c = MakeCase(20, 3, 3, 4);
  c.SetRoles(ref::Roles(20, 1));
  const auto want = RunKernel(context, c, Inputs(c));
  c.SetRoles(ref::Roles(20, 200));
  EXPECT_SAME_BITS(RunKernel(context, c, Inputs(c)).All(), want.All());
}

// (B, T, H D) rows with NaN between them and around them.
TEST(WindowAttention, StridedViewsReadNothingElse) {
  Context context(2);
  for (const idx_t D : {5, 16, 20}) {
    Case c = MakeCase(105, 20, 30, D, 2, 3);
    c.SetRoles(MakeRoles(c, Layout::kHoles));
    c.spec.dilation = {1, 2, 1};
    const Inputs x(c);
    const auto want = RunKernel(context, c, x);
    const idx_t B = c.shape.B, H = c.shape.H, T = c.shape.T, row = H * D + 3;
    const auto spread = [&](const std::vector<float>& a) {
      std::vector<float> wide(static_cast<std::size_t>(B * (T + 2) * row), kNan);
      for (idx_t i = 0; i < static_cast<idx_t>(a.size()); ++i) {
        const idx_t d = i % D, t = i / D % T, h = i / D / T % H, b = i / D / T / H;
        wide[static_cast<std::size_t>((b * (T + 2) + t + 1) * row + h * D + d)] =
            a[static_cast<std::size_t>(i)];
      }
      return wide;
    };
    Inputs wide = x;
    for (auto* a : {&wide.q, &wide.k, &wide.v, &wide.kg, &wide.vg, &wide.dout}) *a = spread(*a);
    Outputs<float> y(c);
    for (auto* a : {&y.out, &y.dq, &y.dk, &y.dv, &y.dkg, &y.dvg}) *a = spread(*a);
    RunOnViews(context, c, wide, y, [&](std::vector<float>& a) {
      return View<float, 4>(a.data() + row, {B, H, T, D}, {(T + 2) * row, D, row, 1});
    });
    EXPECT_SAME_BITS(y.out, spread(want.out));
    EXPECT_SAME_BITS(y.dq, spread(want.dq));
    EXPECT_SAME_BITS(y.dk, spread(want.dk));
    EXPECT_SAME_BITS(y.dv, spread(want.dv));
    EXPECT_SAME_BITS(y.dkg, spread(want.dkg));
    EXPECT_SAME_BITS(y.dvg, spread(want.dvg));
    EXPECT_SAME_BITS(y.lse, want.lse);
    EXPECT_SAME_BITS(y.dqg, want.dqg);
  }
}

TEST(WindowAttention, GradientsAccumulate) {
  Context context(2);
  Case c = MakeCase(700, 60, 60, 4);
  c.SetRoles(MakeRoles(c, Layout::kMany));
  Inputs x(c);
  const auto once = RunKernel(context, c, x);
  auto twice = once;
  RunOnViews(context, c, x, twice,
             [&](std::vector<float>& a) { return View<float, 4>(a.data(), c.extents()); });
  for (std::size_t part = 2; part < 8; ++part) {
    const auto& a = *once.Parts()[part].second;
    const auto& b = *twice.Parts()[part].second;
    for (std::size_t i = 0; i < a.size(); ++i) {
      ASSERT_NEAR(b[i], 2 * a[i], 1e-5 * (1 + std::abs(a[i]))) << once.Parts()[part].first;
    }
  }
}

// A batch row's result does not depend on the others.
TEST(WindowAttention, RowsOfTheBatchAreStrangers) {
  Context context(2);
  Case both = MakeCase(100, 15, 15, 8, 2);
  both.SetRoles(MakeRoles(both, Layout::kRagged));
  const Inputs x(both);
  const auto y = RunKernel(context, both, x);
  Case first = MakeCase(100, 15, 15, 8, 1);
  const auto z = RunKernel(context, first, Inputs(first));
  EXPECT_TRUE(std::equal(z.out.begin(), z.out.end(), y.out.begin()));
}

// ---- same bits ----------------------------------------------------------------------------------

TEST(WindowAttention, SameBitsForAnyThreads) {
  for (const idx_t width : {50, 600}) {
    for (const Layout layout : {Layout::kTogether, Layout::kHoles}) {
      Case c = MakeCase(1000, width, width, 8, 1, 2);
      c.spec.dilation = {1, 3};
      c.SetRoles(MakeRoles(c, layout));
      for (std::uint8_t& role : c.roles) role = role == 0 ? 1 : role;  // lse stays finite
      c.SetRoles(c.roles);
      c.spec.dropout = {0.1f, 9};
      const Inputs x(c);
      ExpectSameBitsForAnyThreads([&](Context& context) { return RunKernel(context, c, x).All(); });
    }
  }
}

// Heads 1 and 2 of 3, by themselves, draw the dropout that they have beside head 0.
TEST(WindowAttention, SomeHeadsOfALayerHaveTheBitsThatTheyHaveAmongAll) {
  Context context(2);
  Case whole = MakeCase(70, 9, 4, 8, 1, 3);
  whole.SetRoles(MakeRoles(whole, Layout::kHoles));
  whole.spec.dropout = {0.3f, 21};
  Case part = whole;
  part.shape.H = 2;
  part.spec.dropout.first_head = 1;
  part.spec.dropout.layer_heads = 3;
  const Inputs x(whole);
  Inputs some = x;
  const auto drop_first = [](auto& list) {
    list.erase(list.begin(), list.begin() + std::ssize(list) / 3);
  };
  for (auto* list : {&some.q, &some.k, &some.v, &some.dout, &some.qg, &some.kg, &some.vg}) {
    drop_first(*list);
  }
  Outputs<float> expected = RunKernel(context, whole, x);
  for (auto* list : expected.Lists()) drop_first(*list);
  EXPECT_EQ(RunKernel(context, part, some).All(), expected.All());
  part.spec.dropout.first_head = 0;
  EXPECT_NE(RunKernel(context, part, some).out, expected.out);
}

// ---- bad arguments ------------------------------------------------------------------------------

constexpr std::array<idx_t, 4> kShape = {1, 2, 10, 4};

struct Arguments {
  std::vector<float> floats = std::vector<float>(80);
  std::vector<std::uint8_t> bytes = {2, 1, 1, 1, 1, 1, 1, 1, 1, 2};
  View<const float, 4> x{floats.data(), kShape}, xg{floats.data(), {1, 2, 2, 4}};
  View<float, 4> y{floats.data(), kShape}, yg{floats.data(), {1, 2, 2, 4}};
  View<float, 3> rows{floats.data(), {1, 2, 10}};
  WindowSpec spec;
  TokenRoles roles{bytes.data(), {1, 10}};
  View<const float, 4> dout = x;
  Qkv qkv{x, x, x};
  AttentionSaved saved{y, rows};
  DQkv gradients{y, y, y};
  GlobalQkv global{xg, x, x};
  DGlobalQkv global_gradients{yg, y, y};
};

template <class Change>
void ExpectRefused(const Change& change, std::string_view fragment, bool local, bool global) {
  Arguments a;
  change(a);
  Context context(1);
  const auto both = [&] {
    WindowForward(context, a.spec, a.qkv, a.roles, a.saved);
    WindowBackward(context, a.spec, a.qkv, a.roles, a.saved, a.dout, a.gradients);
  };
  const auto both_global = [&] {
    GlobalForward(context, a.spec, a.global, a.roles, a.saved);
    GlobalBackward(context, a.spec, a.global, a.roles, a.saved, a.dout, a.global_gradients);
  };
  EXPECT_TRUE(!local || Throws(both, ErrorCode::kUsage, fragment));
  EXPECT_TRUE(!global || Throws(both_global, ErrorCode::kUsage, fragment));
}

TEST(WindowAttention, BadArgumentsNameBothValues) {
  const auto local = [](const auto& change, std::string_view fragment) {
    ExpectRefused(change, fragment, true, false);
  };
  const auto global = [](const auto& change, std::string_view fragment) {
    ExpectRefused(change, fragment, false, true);
  };
  const auto either = [](const auto& change, std::string_view fragment) {
    ExpectRefused(change, fragment, true, true);
  };
  local([](Arguments& a) { a.qkv.q.extent[1] = 0; }, "q is (1, 0, 10, 4)");
  local([](Arguments& a) { a.qkv.k.extent[2] = 9; }, "k is (1, 2, 9, 4), expected (1, 2, 10, 4)");
  local([](Arguments& a) { a.qkv.v.extent[3] = 3; }, "v is (1, 2, 10, 3)");
  local([](Arguments& a) { a.qkv.q.stride[3] = 2; }, "stride of q is 2, expected 1");
  local([](Arguments& a) { a.gradients.dq.extent[0] = 2; }, "dq is (2, 2, 10, 4)");
  local([](Arguments& a) { a.gradients.dk.stride[3] = 3; }, "stride of dk is 3");
  local([](Arguments& a) { a.gradients.dv.extent[0] = 2; }, "dv is (2, 2, 10, 4)");
  global([](Arguments& a) { a.global.kg.extent[3] = 0; }, "kg is (1, 2, 10, 0)");
  global([](Arguments& a) { a.global.vg.extent[2] = 9; }, "vg is (1, 2, 9, 4)");
  global([](Arguments& a) { a.global.qg.extent[1] = 1; }, "qg is (1, 1, 2, 4)");
  global([](Arguments& a) { a.global.qg.extent[2] = 1; }, "qg has 1 rows for 2 global tokens");
  global([](Arguments& a) { a.global_gradients.dqg.extent[2] = 1; }, "dqg is (1, 2, 1, 4)");
  global([](Arguments& a) { a.global_gradients.dkg.extent[2] = 1; }, "dkg is (1, 2, 1, 4)");
  global([](Arguments& a) { a.global_gradients.dvg.extent[2] = 1; }, "dvg is (1, 2, 1, 4)");
  either([](Arguments& a) { a.saved.out.extent[0] = 2; }, "out is (2, 2, 10, 4)");
  either([](Arguments& a) { a.saved.lse.extent[2] = 4; }, "lse is (1, 2, 4)");
  either([](Arguments& a) { a.roles.extent[1] = 11; }, "roles is (1, 11), expected (1, 10)");
  either([](Arguments& a) { a.dout.extent[1] = 1; }, "dout is (1, 1, 10, 4)");
  either([](Arguments& a) { a.spec.dropout.p = 1.0f; }, "dropout 1 is not in [0, 1)");
  either([](Arguments& a) { a.spec.scale = kNan; }, "scale nan");
  either([](Arguments& a) { a.spec.left = -1; }, "left -1 is negative");
  either([](Arguments& a) { a.spec.right = -2; }, "right -2 is negative");
  either([](Arguments& a) { a.spec.dilation = {1}; }, "1 dilations for 2 heads");
  either([](Arguments& a) { a.spec.dilation = {1, 0}; }, "dilation 0 is below 1");
}

}  // namespace
}  // namespace longspan::test
