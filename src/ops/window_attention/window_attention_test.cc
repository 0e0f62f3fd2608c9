#include "ops/window_attention/window_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/isa.h"
#include "longspan/attention.h"
#include "ops/window_attention/window_attention_ref.h"
#include "ops/window_attention/window_attention_test.h"
#include "tests/support/compare.h"
#include "tests/support/gradcheck.h"

namespace longspan::test {
namespace {

// ---- the reference ------------------------------------------------------------------------------

TEST(WindowReference, HandWorked) {
  WindowSpec spec;
  spec.scale = 1.0f;
  spec.left = spec.right = 1;
  const double two = std::log(2.0), three = std::log(3.0);
  // Scores of every query with keys 0 .. 3: 1, 2, 1, 3 as exponentials. Key 0 is global.
  const std::vector<double> q(4, 1.0), k = {0.0, two, 0.0, three}, v = {12.0, 24.0, 36.0, 48.0};
  std::vector<double> out(4, -1.0), lse(4, -1.0);
  ref::WindowForward<double>(spec, {1, 1, 4, 1, 1}, q.data(), k.data(), v.data(), {2, 1, 1, 1},
                             out.data(), lse.data());
  EXPECT_EQ(out[0], -1.0);                               // not its business
  EXPECT_NEAR(out[1], (12.0 + 2 * 24 + 36) / 4, 1e-13);  // 0 once, though it is in the window
  EXPECT_NEAR(out[2], (12.0 + 48 + 36 + 144) / 7, 1e-13);
  EXPECT_NEAR(out[3], (12.0 + 36 + 144) / 5, 1e-13);  // 0 from afar
  EXPECT_NEAR(lse[3], std::log(5.0), 1e-13);
  ref::GlobalForward<double>(spec, {1, 1, 4, 1, 1}, q.data(), k.data(), v.data(), {2, 1, 0, 1},
                             out.data(), lse.data());
  EXPECT_NEAR(out[0], (12.0 + 48 + 144) / 6, 1e-13);
}

void CheckReferenceGradient(const Case& c) {
  SCOPED_TRACE(c.Name());
  const Inputs x(c);
  const auto size = static_cast<std::size_t>(c.size());
  const auto loss = [&](std::span<const Complex> in) {
    std::vector<Complex> out(size), lse(static_cast<std::size_t>(c.rows()));
    const Complex* p = in.data();
    ref::WindowForward<Complex>(c.spec, c.shape, p, p + size, p + 2 * size, c.roles, out.data(),
                                lse.data());
    p += 3 * size;
    ref::GlobalForward<Complex>(c.spec, c.shape, p + 2 * size, p, p + size, c.roles, out.data(),
                                lse.data());
    Complex total = 0.0;
    for (std::size_t i = 0; i < size; ++i) total += out[i] * static_cast<double>(x.dout[i]);
    return total;
  };
  const auto y = RunReference<double>(c, x);
  std::vector<double> inputs, gradient;
  for (const auto* a : {&x.q, &x.k, &x.v, &x.kg, &x.vg, &x.qg}) {
    inputs.insert(inputs.end(), a->begin(), a->end());
  }
  for (const auto* a : {&y.dq, &y.dk, &y.dv, &y.dkg, &y.dvg, &y.dqg}) {
    gradient.insert(gradient.end(), a->begin(), a->end());
  }
  EXPECT_EQ(CheckGradient(loss, inputs, gradient), "");
}

TEST(WindowReference, GradientByComplexStep) {
  for (const bool causal : {false, true}) {
    for (const Layout layout : {Layout::kFirst, Layout::kHoles, Layout::kRagged}) {
      Case c = MakeCase(9, 3, 2, 3, 2, 2);
      c.spec.causal = causal;
      c.SetRoles(MakeRoles(c, layout));
      CheckReferenceGradient(c);
      c.spec.dilation = {1, 3};
      c.spec.dropout = {0.5f, 77};
      c.spec.scale = 0.7f;
      CheckReferenceGradient(c);
    }
  }
  CheckReferenceGradient(MakeCase(1, 0, 0, 3));
  CheckReferenceGradient(MakeCase(7, 100, 1, 3));
}

// ---- kernel against reference -------------------------------------------------------------------

TEST(WindowAttention, LengthsAndHeadSizes) {
  Context context(1);
  for (const bool causal : {false, true}) {
    for (const idx_t T : {1, 2, 48, 65, 130, 259}) {
      for (const idx_t D : {1, 5, 20, 64}) {
        Case c = MakeCase(T, 17, 9, D);
        c.spec.causal = causal;
        CheckCase(context, c);
      }
    }
    Case c = MakeCase(200, 40, 40, 128);  // smaller key blocks
    c.spec.causal = causal;
    CheckCase(context, c);
  }
  CheckCase(context, MakeCase(100, 30, 20, 256));
}

TEST(WindowAttention, Widths) {
  Context context(1);
  for (const idx_t T : {1, 7, 150}) {
    for (const idx_t left : {0, 1, 7, 64, 149, 150, 10000}) {
      for (const idx_t right : {0, 5, 63, 200}) CheckCase(context, MakeCase(T, left, right, 4));
    }
  }
}

TEST(WindowAttention, Roles) {
  Context context(1);
  for (const bool causal : {false, true}) {
    for (const Layout layout : kLayouts) {
      for (const idx_t T : {3, 70, 250}) {
        if (T == 250 && layout != Layout::kMany && layout != Layout::kHoles) continue;
        Case c = MakeCase(T, 20, 20, T == 250 ? 3 : 6, 2, T == 250 ? 1 : 2);
        c.spec.causal = causal;
        c.SetRoles(MakeRoles(c, layout));
        CheckCase(context, c);
      }
    }
  }
}

TEST(WindowAttention, Dilations) {
  Context context(1);
  for (const bool causal : {false, true}) {
    for (const idx_t T : {1, 30, 211}) {
      Case c = MakeCase(T, 6, 4, 7, 1, 4);
      c.spec.causal = causal;
      c.spec.dilation = {1, 2, 5, 1000};
      CheckCase(context, c);
      c.SetRoles(MakeRoles(c, Layout::kHoles));
      CheckCase(context, c);
      c.spec.dilation = {3, 3, 3, 3};
      c.spec.left = 100;
      CheckCase(context, c);
    }
  }
}

TEST(WindowAttention, DropoutIsReplayed) {
  Context context(1);
  for (const bool causal : {false, true}) {
    for (const idx_t T : {1, 7, 64, 240}) {
      Case c = MakeCase(T, 50, 30, 5, 1, 2);
      c.spec.causal = causal;
      c.spec.dropout = {0.5f, 1234};
      CheckCase(context, c);
      c.spec.dilation = {1, 4};
      c.spec.dropout.p = 0.1f;
      c.SetRoles(MakeRoles(c, Layout::kHoles));
      CheckCase(context, c);
    }
  }
}

TEST(WindowAttention, Scales) {
  Context context(1);
  for (const float scale : {1.0f, 0.01f, -0.5f}) {
    Case c = MakeCase(70, 12, 12, 16);
    c.spec.scale = scale;
    c.SetRoles(MakeRoles(c, Layout::kEnds));
    CheckCase(context, c);
  }
}

// Blocks whose scores need no maximum, and blocks whose scores do, before and behind each other:
// with all keys at once, with keys that pass by, and beside global keys.
TEST(WindowAttention, SmallAndLargeScores) {
  Context context(1);
  Case ring = MakeCase(500, 40, 30, 16, 1, 2), blocks = MakeCase(600, 400, 400, 160, 1, 1);
  ASSERT_TRUE(MakeWindowPlan(ring.spec, ring.extents(), 0).ring);
  ASSERT_FALSE(MakeWindowPlan(blocks.spec, blocks.extents(), 0).ring);
  for (Case* c : {&ring, &blocks}) {
    c->middle = 12.0f;
    CheckCase(context, *c);
    c->SetRoles(MakeRoles(*c, Layout::kFirst));
    CheckCase(context, *c);
    c->SetRoles(MakeRoles(*c, Layout::kMany));
    CheckCase(context, *c);
  }
}

// Blocks of which rows see nothing, whose scores are small, before and behind blocks whose scores
// lie all so far below 0 that no weight relative to 0 would be left.
TEST(WindowAttention, ScoresFarBelowZeroBesideHiddenKeys) {
  Context context(1);
  Case c = MakeCase(600, 400, 400, 160, 1, 1);
  ASSERT_FALSE(MakeWindowPlan(c.spec, c.extents(), 0).ring);
  Inputs x(c);
  for (float& q : x.q) q = 0.5f + 0.01f * q;
  for (float& k : x.k) k = -24.0f + k;
  for (const idx_t first : {0, 400}) {
    SCOPED_TRACE(first);
    std::vector<std::uint8_t> roles(600, kLocalToken);
    std::fill_n(roles.begin() + first, 200, kHiddenToken);
    c.SetRoles(roles);
    std::vector<Tolerance> tolerance(8);
    const auto oracle = RunReference<double>(c, x);
    RaiseTolerances(c, x, oracle, &tolerance);
    ExpectOutputs(c, RunKernel(context, c, x), oracle, tolerance);
  }
}

// Long sequences: runs, rings that go around, alternating groups.
TEST(WindowAttention, RunsAndAlternatingGroups) {
  Context context(2);
  for (const bool causal : {false, true}) {
    Case c = MakeCase(1400, 70, 60, 2, 1, 4);
    c.spec.causal = causal;
    const WindowPlan plan = MakeWindowPlan(c.spec, c.extents(), 0);
    ASSERT_TRUE(plan.ring && plan.alternate);
    ASSERT_GE(plan.runs, 3);
    ASSERT_GE(plan.groups, 3);
    CheckCase(context, c);
    c.SetRoles(MakeRoles(c, Layout::kTogether));
    CheckCase(context, c);
  }
}

// Windows that reach over many groups: pairs of groups around the circle.
TEST(WindowAttention, PairedGroups) {
  Context context(2);
  for (const bool causal : {false, true}) {
    Case c = MakeCase(800, 400, 250, 4);
    c.spec.causal = causal;
    const WindowPlan plan = MakeWindowPlan(c.spec, c.extents(), 0);
    ASSERT_FALSE(plan.alternate);
    ASSERT_GE(plan.groups, 3);
    CheckCase(context, c);
    c.SetRoles(MakeRoles(c, Layout::kPadded));
    CheckCase(context, c);
  }
}

// Windows that leave room for fewer rows at a time; too wide for a ring, and more global keys than
// fit beside one: keys pass by in blocks.
TEST(WindowAttention, KeysInBlocks) {
  Context context(1);
  Case c = MakeCase(450, 200, 200, 192);
  const WindowPlan plan = MakeWindowPlan(c.spec, c.extents(), 0);
  ASSERT_TRUE(plan.ring && plan.forward.rows < BlockPlan::kRows);
  CheckCase(context, c);
  c = MakeCase(600, 400, 400, 160);
  ASSERT_FALSE(MakeWindowPlan(c.spec, c.extents(), 0).ring);
  CheckCase(context, c);
  c = MakeCase(620, 100, 100, 3);
  c.SetRoles(MakeRoles(c, Layout::kMany));
  ASSERT_FALSE(MakeWindowPlan(c.spec, c.extents(), c.shape.G).ring);
  CheckCase(context, c);
  c.spec.causal = true;
  c.spec.scale = 4.0f;  // maxima rise by much from block to block
  CheckCase(context, c);
}

// Many heads: one group of all tokens.
TEST(WindowAttention, ManySequences) {
  Context context(1);
  Case c = MakeCase(230, 20, 20, 4, 4, 16);
  ASSERT_EQ(MakeWindowPlan(c.spec, c.extents(), 0).groups, 1);
  c.SetRoles(MakeRoles(c, Layout::kHoles));
  CheckCase(context, c);
}

// Sequences that are long and many enough for more keys at a time in the backward.
TEST(WindowAttention, ManyKeysAtATime) {
  Context context(2);
  Case c = MakeCase(800, 200, 150, 4, 1, 12);
  const WindowPlan plan = MakeWindowPlan(c.spec, c.extents(), 0);
  ASSERT_EQ(plan.backward_rings.keys.ring, ActiveIsa() >= Isa::kAvx512 ? 384 : 192);
  CheckCase(context, c);
  c.spec.causal = true;
  c.SetRoles(MakeRoles(c, Layout::kHoles));
  CheckCase(context, c);
}

// ---- planted bugs -------------------------------------------------------------------------------

// A global key inside of the window counted twice, as a wrong reference.
Outputs<double> CountGlobalsTwice(const Case& c, const Inputs& x) {
  Outputs<double> y(c);
  const auto q = ToDouble(x.q), k = ToDouble(x.k), v = ToDouble(x.v), dout = ToDouble(x.dout);
  ref::ForWindowRows(c.shape, c.roles, 1, [&](idx_t b, idx_t h, idx_t i, idx_t at, idx_t) {
    const idx_t D = c.shape.D;
    auto row =
        ref::WindowWeights<double>(c.spec, c.shape, c.roles, q.data() + at * D, k.data(), b, h, i);
    double sum = 1.0;
    const std::size_t keys = row.keys.size();
    for (std::size_t n = 0; n < keys; ++n) {
      const idx_t j = row.keys[n];
      if (std::abs(i - j) > c.spec.left || ref::WindowRole(c.roles, c.shape, b, j) != 2) continue;
      sum += row.p[n];
      row.keys.push_back(j);
      row.p.push_back(row.p[n]);
      row.factor.push_back(1.0);
    }
    for (double& p : row.p) p /= sum;
    const idx_t row_at = at * D;
    ref::WindowMix<double>(row, c.shape, v.data(), at - i, y.out.data() + row_at);
    ref::WindowRowGradients<double>(
        row, c.shape, ref::WindowScale<double>(c.spec, D), q.data() + row_at, k.data(), v.data(),
        at - i, dout.data() + row_at, y.dq.data() + row_at, y.dk.data(), y.dv.data());
  });
  return y;
}

// Bugs that must not hide behind the tolerances: out and all gradients move by ten of them.
TEST(WindowAttention, PlantedBugsBreakTheTolerance) {
  Context context(1);
  Case right = MakeCase(101, 12, 12, 16);
  right.spec.dilation = {2};
  right.SetRoles(MakeRoles(right, Layout::kEnds));
  right.roles[40] = 0;
  const Inputs x(right);
  const auto oracle = RunReference<double>(right, x);
  const auto tolerance = ToleranceOf(right, oracle);
  const auto expect_tenfold = [&](const char* what, const Outputs<float>& y, std::size_t last) {
    for (std::size_t part = 0; part < last; ++part) {
      if (part == 1) continue;
      const auto difference = Compare(std::span<const float>(*y.Parts()[part].second),
                                      *oracle.Parts()[part].second, tolerance[part]);
      EXPECT_GT(difference.max_abs, 10 * tolerance[part].max_abs)
          << what << " " << y.Parts()[part].first;
    }
  };
  const auto with = [&](const auto& change) {
    Case wrong = right;
    change(wrong);
    return RunKernel(context, wrong, x);
  };
  expect_tenfold("left", with([](Case& c) { c.spec.left = 11; }), 5);
  expect_tenfold("right", with([](Case& c) { c.spec.right = 13; }), 5);
  expect_tenfold("dilation", with([](Case& c) { c.spec.dilation = {1}; }), 5);
  expect_tenfold("causal", with([](Case& c) { c.spec.causal = true; }), 5);
  expect_tenfold("hidden key seen", with([](Case& c) { c.roles[40] = 1; }), 8);
  expect_tenfold("dropout", with([](Case& c) { c.spec.dropout = {0.01f, 3}; }), 5);
  expect_tenfold("scale", with([](Case& c) { c.spec.scale = 0.2501f; }), 8);
  // The last tile: its rows take the values of their neighbours.
  auto tail = RunKernel(context, right, x);
  std::copy_n(tail.out.end() - 4 * 16, 16, tail.out.end() - 3 * 16);
  expect_tenfold("tail", tail, 1);
  const auto twice = CountGlobalsTwice(right, x);
  for (const std::size_t part : {0, 2, 3, 4}) {
    const auto difference =
        Compare(std::span<const double>(*twice.Parts()[part].second),
                std::span<const double>(*oracle.Parts()[part].second), tolerance[part]);
    EXPECT_GT(difference.max_abs, 10 * tolerance[part].max_abs) << "global twice " << part;
  }
}

}  // namespace
}  // namespace longspan::test
