// The re-associated form of the global rows: against projecting and attending, in double.
#include "ops/window_attention/global_reassociated.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/window_attention/window_attention_test.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/gradcheck.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan::test {
namespace {

// A case and the width of its tokens.
struct WideCase : Case {
  explicit WideCase(const Case& c, idx_t channels) : Case(c), C(channels) {}
  idx_t C;
  idx_t tokens_size() const { return shape.B * shape.T * C; }
  idx_t weights_size() const { return shape.H * shape.D * C; }
};

struct WideInputs {
  explicit WideInputs(const WideCase& c)
      : x(RandomNormal(c.seed, c.tokens_size())),
        qg(RandomNormal(c.seed + 100, c.global_size())),
        wk(RandomNormal(c.seed + 200, c.weights_size(), 1.0f / std::sqrt(static_cast<float>(c.C)))),
        wv(RandomNormal(c.seed + 300, c.weights_size(), 1.0f / std::sqrt(static_cast<float>(c.C)))),
        bk(RandomNormal(c.seed + 400, c.shape.H * c.shape.D)),
        bv(RandomNormal(c.seed + 500, c.shape.H * c.shape.D)),
        dout(RandomNormal(c.seed + 600, c.size())) {}
  std::vector<float> x, qg, wk, wv, bk, bv, dout;
};

template <class T>
struct WideOutputs {
  explicit WideOutputs(const WideCase& c)
      : out(static_cast<std::size_t>(c.size())),
        lse(static_cast<std::size_t>(c.rows())),
        dx(static_cast<std::size_t>(c.tokens_size())),
        dqg(static_cast<std::size_t>(c.global_size())),
        dwk(static_cast<std::size_t>(c.weights_size())),
        dwv(dwk.size()),
        dbv(static_cast<std::size_t>(c.shape.H * c.shape.D)),
        dbk(dbv.size()) {}
  // dbk is left out: it is 0.
  std::vector<std::pair<const char*, const std::vector<T>*>> Parts() const {
    return {{"out", &out}, {"lse", &lse}, {"dx", &dx},  {"dqg", &dqg},
            {"dwk", &dwk}, {"dwv", &dwv}, {"dbv", &dbv}};
  }
  std::vector<T> All() const {
    std::vector<T> all;
    for (const auto& [name, part] : Parts()) all.insert(all.end(), part->begin(), part->end());
    return all;
  }
  std::vector<T> out, lse, dx, dqg, dwk, dwv, dbv, dbk;
};

template <class T>
std::vector<T> As(const std::vector<float>& a) {
  return {a.begin(), a.end()};
}

template <class T>
WideOutputs<T> RunReference(const WideCase& c, const WideInputs& in) {
  WideOutputs<T> y(c);
  const auto x = As<T>(in.x), qg = As<T>(in.qg), wk = As<T>(in.wk), wv = As<T>(in.wv);
  const auto bk = As<T>(in.bk), bv = As<T>(in.bv), dout = As<T>(in.dout);
  const auto kg = ref::ProjectHeads<T>(c.shape, c.C, x.data(), wk.data(), bk.data());
  const auto vg = ref::ProjectHeads<T>(c.shape, c.C, x.data(), wv.data(), bv.data());
  ref::GlobalForward<T>(c.spec, c.shape, qg.data(), kg.data(), vg.data(), c.roles, y.out.data(),
                        y.lse.data());
  std::vector<T> dkg(kg.size()), dvg(vg.size());
  ref::GlobalBackward<T>(c.spec, c.shape, qg.data(), kg.data(), vg.data(), c.roles, dout.data(),
                         y.dqg.data(), dkg.data(), dvg.data());
  ref::ProjectHeadsBackward<T>(c.shape, c.C, x.data(), wk.data(), dkg, y.dx.data(), y.dwk.data(),
                               y.dbk.data());
  ref::ProjectHeadsBackward<T>(c.shape, c.C, x.data(), wv.data(), dvg, y.dx.data(), y.dwv.data(),
                               y.dbv.data());
  return y;
}

GlobalProjection Projection(const WideCase& c, const WideInputs& in) {
  const idx_t width = c.shape.H * c.shape.D;
  return {{in.x.data(), {c.shape.B, c.shape.T, c.C}},
          {in.qg.data(), c.global_extents()},
          {in.wk.data(), {width, c.C}},
          {in.wv.data(), {width, c.C}},
          {in.bk.data(), {width}},
          {in.bv.data(), {width}}};
}

DGlobalProjection Gradients(const WideCase& c, WideOutputs<float>& y) {
  const idx_t width = c.shape.H * c.shape.D;
  return {{y.dx.data(), {c.shape.B, c.shape.T, c.C}},
          {y.dqg.data(), c.global_extents()},
          {y.dwk.data(), {width, c.C}},
          {y.dwv.data(), {width, c.C}},
          {y.dbv.data(), {width}}};
}

WideOutputs<float> RunKernel(Context& context, const WideCase& c, const WideInputs& in) {
  WideOutputs<float> y(c);
  const AttentionSaved saved{{y.out.data(), c.extents()},
                             {y.lse.data(), {c.shape.B, c.shape.H, c.shape.T}}};
  // Rows of x lie apart in every second case: nobody may read what is between and behind them.
  const idx_t apart = c.C + (c.shape.T % 2 == 0 ? 0 : 3);
  std::vector<float> x(static_cast<std::size_t>(c.shape.B * c.shape.T * apart + 3), std::nanf(""));
  for (idx_t row = 0; row < c.shape.B * c.shape.T; ++row) {
    std::copy_n(in.x.data() + row * c.C, c.C, x.data() + row * apart);
  }
  GlobalProjection projection = Projection(c, in);
  projection.x = {x.data(), projection.x.extent, {c.shape.T * apart, apart, 1}};
  GlobalReassociatedForward(context, c.spec, projection, c.Roles(), saved);
  GlobalReassociatedBackward(context, c.spec, projection, c.Roles(), saved,
                             {in.dout.data(), c.extents()}, Gradients(c, y));
  return y;
}

std::vector<Tolerance> ComputeTolerances(const WideCase& c) {
  std::vector<Tolerance> most(7);
  WideCase input = c;
  const int inputs = c.tokens_size() > 1000 ? 2 : 8;
  for (int i = 0; i < inputs; ++i, ++input.seed) {
    const WideInputs in(input);
    const auto naive = RunReference<float>(input, in);
    const auto oracle = RunReference<double>(input, in);
    for (std::size_t part = 0; part < most.size(); ++part) {
      test::RaiseTolerance(*naive.Parts()[part].second, *oracle.Parts()[part].second,
                           part < 2 ? 2 : 3, &most[part]);
    }
  }
  return most;
}

std::vector<Tolerance> ToleranceOf(const WideCase& c) {
  return RememberTolerances(c.KeyOf("re-associated").Add(c.C),
                            [&] { return ComputeTolerances(c); });
}

void CheckWideCase(Context& context, const WideCase& c) {
  SCOPED_TRACE(c.Name() + fmt::format(" C{}", c.C));
  const WideInputs in(c);
  const auto y = RunKernel(context, c, in);
  const auto oracle = RunReference<double>(c, in);
  const auto tolerance = ToleranceOf(c);
  for (std::size_t part = 0; part < tolerance.size(); ++part) {
    const auto [name, actual] = y.Parts()[part];
    if (tolerance[part].max_abs > 0.0) {
      const auto difference =
          Compare(std::span<const float>(*actual), *oracle.Parts()[part].second, tolerance[part]);
      EXPECT_TRUE(difference.ok) << name << ": " << difference.reason;
      continue;
    }
    for (const float value : *actual) ASSERT_LE(std::abs(value), 3e-6f) << name;
  }
}

WideCase MakeWideCase(idx_t T, idx_t C, Layout layout, idx_t D = 4, idx_t B = 2, idx_t H = 3) {
  Case c = MakeCase(T, 5, 5, D, B, H);
  c.SetRoles(MakeRoles(c, layout));
  return WideCase(c, C);
}

TEST(GlobalReassociated, ReferenceGradientByComplexStep) {
  WideCase c = MakeWideCase(9, 5, Layout::kHoles, 3, 2, 2);
  c.spec.dropout = {0.4f, 5};
  const WideInputs in(c);
  const auto y = RunReference<double>(c, in);
  const auto loss = [&](std::span<const Complex> v) {
    const Complex* x = v.data();
    const Complex *wk = x + c.tokens_size(), *wv = wk + c.weights_size();
    const Complex *bk = wv + c.weights_size(), *bv = bk + in.bk.size();
    const auto kg = ref::ProjectHeads<Complex>(c.shape, c.C, x, wk, bk);
    const auto vg = ref::ProjectHeads<Complex>(c.shape, c.C, x, wv, bv);
    std::vector<Complex> out(in.dout.size()), lse(static_cast<std::size_t>(c.rows()));
    ref::GlobalForward<Complex>(c.spec, c.shape, bv + in.bv.size(), kg.data(), vg.data(), c.roles,
                                out.data(), lse.data());
    Complex total = 0.0;
    for (std::size_t i = 0; i < out.size(); ++i) total += out[i] * static_cast<double>(in.dout[i]);
    return total;
  };
  std::vector<double> inputs, gradient;
  for (const auto* a : {&in.x, &in.wk, &in.wv, &in.bk, &in.bv, &in.qg}) {
    inputs.insert(inputs.end(), a->begin(), a->end());
  }
  for (const auto* a : {&y.dx, &y.dwk, &y.dwv, &y.dbk, &y.dbv, &y.dqg}) {
    gradient.insert(gradient.end(), a->begin(), a->end());
  }
  EXPECT_EQ(CheckGradient(loss, inputs, gradient), "");
  for (const double dbk : y.dbk) EXPECT_NEAR(dbk, 0.0, 1e-13);
}

TEST(GlobalReassociated, EqualsProjectingAndAttending) {
  Context context(1);
  for (const bool causal : {false, true}) {
    for (const Layout layout : kLayouts) {
      for (const idx_t T : {1, 57, 100}) {
        if (T == 100 && layout != Layout::kHoles) continue;
        WideCase c = MakeWideCase(T, 12, layout);
        c.spec.causal = causal;
        CheckWideCase(context, c);
      }
    }
  }
}

TEST(GlobalReassociated, Widths) {
  Context context(1);
  for (const idx_t C : {1, 8, 20, 24, 48, 64, 300}) {
    CheckWideCase(context, MakeWideCase(55, C, Layout::kHoles, 20, 1, 2));
    CheckWideCase(context, MakeWideCase(56, C, Layout::kTogether, 20, 1, 2));  // nobody is hidden
  }
  // More rows than a batch holds, more tokens than a part.
  CheckWideCase(context, MakeWideCase(400, 16, Layout::kTogether, 5, 1, 9));
}

TEST(GlobalReassociated, DropoutIsReplayed) {
  Context context(1);
  for (const idx_t T : {7, 120}) {
    WideCase c = MakeWideCase(T, 12, Layout::kHoles);
    c.spec.dropout = {0.3f, 17};
    CheckWideCase(context, c);
    c.spec.causal = true;
    CheckWideCase(context, c);
  }
}

// The other kernel, on projections of its own, with the same dropout.
TEST(GlobalReassociated, EqualsGlobalForward) {
  Context context(1);
  WideCase c = MakeWideCase(150, 24, Layout::kPadded, 8);
  c.spec.dropout = {0.2f, 3};
  const WideInputs in(c);
  const auto y = RunKernel(context, c, in);
  const auto kg = ref::ProjectHeads<float>(c.shape, c.C, in.x.data(), in.wk.data(), in.bk.data());
  const auto vg = ref::ProjectHeads<float>(c.shape, c.C, in.x.data(), in.wv.data(), in.bv.data());
  WideOutputs<float> z(c);
  GlobalForward(
      context, c.spec,
      {{in.qg.data(), c.global_extents()}, {kg.data(), c.extents()}, {vg.data(), c.extents()}},
      c.Roles(), {{z.out.data(), c.extents()}, {z.lse.data(), {2, 3, 150}}});
  const auto tolerance = ToleranceOf(c);  // either may be off by it
  EXPECT_MATCHES(std::span<const float>(y.out), std::span<const float>(z.out),
                 (Tolerance{2 * tolerance[0].max_abs, 2 * tolerance[0].rel_l2}));
  EXPECT_MATCHES(std::span<const float>(y.lse), std::span<const float>(z.lse),
                 (Tolerance{2 * tolerance[1].max_abs, 2 * tolerance[1].rel_l2}));
}

TEST(GlobalReassociated, PlantedBugsBreakTheTolerance) {
  Context context(1);
  const WideCase right = MakeWideCase(90, 16, Layout::kPadded, 8);
  const WideInputs in(right);
  const auto oracle = RunReference<double>(right, in);
  const auto tolerance = ToleranceOf(right);
  const auto expect_tenfold = [&](const char* what, const WideOutputs<float>& y, auto parts) {
    for (const std::size_t part : parts) {
      const auto difference = Compare(std::span<const float>(*y.Parts()[part].second),
                                      *oracle.Parts()[part].second, tolerance[part]);
      EXPECT_GT(difference.max_abs, 10 * tolerance[part].max_abs)
          << what << " " << y.Parts()[part].first;
    }
  };
  const std::array<std::size_t, 6> all = {0, 1, 2, 3, 4, 5};  // dbv is the sum of dout
  WideCase wrong = right;
  wrong.spec.scale = 0.3537f;
  expect_tenfold("scale", RunKernel(context, wrong, in), std::array<std::size_t, 5>{0, 1, 2, 3, 4});
  wrong = right;
  wrong.roles[89] = 1;
  expect_tenfold("hidden token seen", RunKernel(context, wrong, in), all);
  WideInputs biased = in;
  for (float& b : biased.bv) b *= 1.001f;
  expect_tenfold("value bias", RunKernel(context, right, biased), std::array<std::size_t, 1>{0});
  biased = in;
  for (float& b : biased.bk) b *= 1.001f;
  expect_tenfold("key bias", RunKernel(context, right, biased), std::array<std::size_t, 1>{1});
}

// Hidden tokens may hold anything, and views have strides.
TEST(GlobalReassociated, HiddenTokensAndStrides) {
  Context context(1);
  const WideCase c = MakeWideCase(70, 20, Layout::kHoles, 8);
  const WideInputs in(c);
  const auto want = RunKernel(context, c, in);
  const idx_t B = 2, T = 70, row = 27;
  std::vector<float> x(static_cast<std::size_t>(B * T * row), kNan), dx = x;
  for (idx_t i = 0; i < B * T; ++i) {
    for (idx_t d = 0; d < 20; ++d) {
      const auto at = static_cast<std::size_t>(i * row + d);
      if (c.roles[static_cast<std::size_t>(i)] != 0) {
        x[at] = in.x[static_cast<std::size_t>(i * 20 + d)];
      }
      dx[at] = 0.0f;
    }
  }
  WideOutputs<float> y(c);
  const AttentionSaved saved{{y.out.data(), c.extents()}, {y.lse.data(), {2, 3, 70}}};
  GlobalProjection projection = Projection(c, in);
  projection.x = {x.data(), {B, T, 20}, {T * row, row, 1}};
  DGlobalProjection gradients = Gradients(c, y);
  gradients.dx = {dx.data(), {B, T, 20}, {T * row, row, 1}};
  GlobalReassociatedForward(context, c.spec, projection, c.Roles(), saved);
  GlobalReassociatedBackward(context, c.spec, projection, c.Roles(), saved,
                             {in.dout.data(), c.extents()}, gradients);
  for (idx_t i = 0; i < B * T; ++i) {
    for (idx_t d = 0; d < row; ++d) {
      const float got = dx[static_cast<std::size_t>(i * row + d)];
      if (d < 20) {
        y.dx[static_cast<std::size_t>(i * 20 + d)] = got;
      } else {
        ASSERT_TRUE(std::isnan(got));
      }
    }
  }
  EXPECT_SAME_BITS(y.All(), want.All());
}

// Without biases, and without a wish for dbv.
TEST(GlobalReassociated, BiasesAreOptional) {
  Context context(1);
  const WideCase c = MakeWideCase(30, 8, Layout::kEnds);
  WideInputs in(c);
  std::fill(in.bk.begin(), in.bk.end(), 0.0f);
  std::fill(in.bv.begin(), in.bv.end(), 0.0f);
  const auto want = RunKernel(context, c, in);
  WideOutputs<float> y(c);
  const AttentionSaved saved{{y.out.data(), c.extents()}, {y.lse.data(), {2, 3, 30}}};
  GlobalProjection projection = Projection(c, in);
  projection.bk = projection.bv = {};
  DGlobalProjection gradients = Gradients(c, y);
  gradients.dbv = {};
  GlobalReassociatedForward(context, c.spec, projection, c.Roles(), saved);
  GlobalReassociatedBackward(context, c.spec, projection, c.Roles(), saved,
                             {in.dout.data(), c.extents()}, gradients);
  y.dbv = want.dbv;
  EXPECT_SAME_BITS(y.All(), want.All());
}

// Gradients of weights that are not wanted stay as they are; the others have the same bits.
TEST(GlobalReassociated, GradientsOfWeightsAreOptional) {
  Context context(1);
  const WideCase c = MakeWideCase(30, 8, Layout::kEnds);
  const WideInputs in(c);
  const auto want = RunKernel(context, c, in);
  for (const bool key : {false, true}) {
    WideOutputs<float> y(c);
    const AttentionSaved saved{{y.out.data(), c.extents()}, {y.lse.data(), {2, 3, 30}}};
    DGlobalProjection gradients = Gradients(c, y);
    (key ? gradients.dwv : gradients.dwk).data = nullptr;
    const GlobalProjection projection = Projection(c, in);
    GlobalReassociatedForward(context, c.spec, projection, c.Roles(), saved);
    GlobalReassociatedBackward(context, c.spec, projection, c.Roles(), saved,
                               {in.dout.data(), c.extents()}, gradients);
    auto& left_out = key ? y.dwv : y.dwk;
    EXPECT_EQ(left_out, std::vector<float>(left_out.size(), 0.0f));
    left_out = key ? want.dwv : want.dwk;
    EXPECT_SAME_BITS(y.All(), want.All());
  }
}

TEST(GlobalReassociated, SameBitsForAnyThreads) {
  WideCase c = MakeWideCase(500, 24, Layout::kTogether, 8, 2, 6);
  c.spec.dropout = {0.1f, 2};
  const WideInputs in(c);
  ExpectSameBitsForAnyThreads([&](Context& context) { return RunKernel(context, c, in).All(); });
}

TEST(GlobalReassociated, FlopsCrossWhereTheHeaderSays) {
  const auto wins = [](idx_t globals, bool backward) {
    return CountGlobalFlops(16384, 768, 12, 64, globals, backward).ReassociatedWins();
  };
  EXPECT_TRUE(wins(1, false) && wins(69, false) && wins(51, true));
  EXPECT_FALSE(wins(70, false) || wins(52, true));
}

TEST(GlobalReassociated, BadArgumentsNameBothValues) {
  const WideCase c = MakeWideCase(10, 8, Layout::kEnds, 4, 1, 2);
  const WideInputs in(c);
  const auto refused = [&](const auto& change, std::string_view fragment) {
    WideOutputs<float> y(c);
    GlobalProjection input = Projection(c, in);
    DGlobalProjection gradients = Gradients(c, y);
    change(input, gradients);
    Context context(1);
    const AttentionSaved saved{{y.out.data(), c.extents()}, {y.lse.data(), {1, 2, 10}}};
    return Throws(
        [&] {
          GlobalReassociatedForward(context, c.spec, input, c.Roles(), saved);
          GlobalReassociatedBackward(context, c.spec, input, c.Roles(), saved,
                                     {in.dout.data(), c.extents()}, gradients);
        },
        ErrorCode::kUsage, fragment);
  };
  EXPECT_TRUE(refused([](auto& x, auto&) { x.x.extent[1] = 9; }, "out is (1, 2, 10, 4)"));
  EXPECT_TRUE(refused([](auto& x, auto&) { x.x.extent[2] = 0; }, "x is (1, 10, 0)"));
  EXPECT_TRUE(refused([](auto& x, auto&) { x.wk.extent[1] = 9; }, "wk is (8, 9), expected (8, 8)"));
  EXPECT_TRUE(refused([](auto& x, auto&) { x.wv.extent[0] = 9; }, "wv is (9, 8), expected (8, 8)"));
  EXPECT_TRUE(refused([](auto& x, auto&) { x.bk.extent[0] = 9; }, "bk is (9), expected (8)"));
  EXPECT_TRUE(refused([](auto& x, auto&) { x.bv.extent[0] = 7; }, "bv is (7), expected (8)"));
  EXPECT_TRUE(refused([](auto& x, auto&) { x.qg.extent[2] = 1; }, "qg has 1 rows for 2"));
  EXPECT_TRUE(refused([](auto&, auto& y) { y.dx.extent[2] = 1; }, "dx is (1, 10, 1)"));
  EXPECT_TRUE(refused([](auto&, auto& y) { y.dqg.extent[2] = 1; }, "dqg is (1, 2, 1, 4)"));
  EXPECT_TRUE(refused([](auto&, auto& y) { y.dwk.extent[1] = 1; }, "dwk is (8, 1)"));
  EXPECT_TRUE(refused([](auto&, auto& y) { y.dwv.extent[1] = 1; }, "dwv is (8, 1)"));
  EXPECT_TRUE(refused([](auto&, auto& y) { y.dbv.extent[0] = 1; }, "dbv is (1), expected (8)"));
}

}  // namespace
}  // namespace longspan::test
