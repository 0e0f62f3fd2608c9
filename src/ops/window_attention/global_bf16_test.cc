// The rows of global tokens on bf16 inputs, projected and re-associated.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/bfloat16.h"
#include "longspan/attention.h"
#include "ops/window_attention/window_attention_test.h"
#include "tests/support/tiles.h"

namespace longspan::test {
namespace {

// ---- projected ----------------------------------------------------------------------------------

struct Global {
  WindowSpec spec;
  std::vector<std::uint8_t> roles;  // (B, T)

  TokenRoles Roles(const Bf16Problem& p) const { return {roles.data(), {p.B, p.T}}; }
  int Role(const Bf16Problem& p, idx_t b, idx_t t) const {
    return roles[static_cast<std::size_t>(b * p.T + t)];
  }
  bool Sees(const Bf16Problem& p, idx_t head, idx_t i, idx_t j) const {
    const idx_t b = head / p.H;
    return Role(p, b, i) == kGlobalToken && Role(p, b, j) != kHiddenToken &&
           !(spec.causal && j > i);
  }

  // Calls move(row of q, row of qg) for every global token of every head.
  template <class Move>
  void ForRows(const Bf16Problem& p, idx_t most, const Move& move) const {
    for (idx_t head = 0; head < p.B * p.H; ++head) {
      for (idx_t t = 0, g = 0; t < p.T; ++t) {
        if (Role(p, head / p.H, t) == kGlobalToken) move(head * p.T + t, head * most + g++);
      }
    }
  }

  void Run(Context& context, const Bf16Problem& p, Bf16Tensors& x) const {
    const idx_t most = LargestGlobalCount(Roles(p));
    const std::array<idx_t, 4> shape = {p.B, p.H, most, p.D};
    std::vector<bfloat16> qg(static_cast<std::size_t>(p.B * p.H * most * p.D));
    std::vector<float> dqg(qg.size());
    ForRows(p, most, [&](idx_t from, idx_t to) {
      std::copy_n(x.q.data() + from * p.D, p.D, qg.data() + to * p.D);
    });
    const Bf16GlobalQkv qkv{{qg.data(), shape}, x.In(x.k), x.In(x.v)};
    GlobalForward(context, spec, qkv, Roles(p), x.Saved());
    GlobalBackward(context, spec, qkv, Roles(p), x.Saved(), x.Dout(),
                   {{dqg.data(), shape}, x.Gradients().dk, x.Gradients().dv});
    ForRows(p, most, [&](idx_t to, idx_t from) {
      std::copy_n(dqg.data() + from * p.D, p.D, x.dq.data() + to * p.D);
    });
  }
};

Global MakeGlobal(Layout layout, idx_t T, idx_t B) {
  Global g;
  for (idx_t b = 0; b < B; ++b) {
    for (idx_t t = 0; t < T; ++t) g.roles.push_back(RoleAt(layout, T, b, t));
  }
  return g;
}

void CheckGlobal(const Global& g, idx_t T, idx_t D, idx_t B, idx_t H) {
  Bf16Problem p{B, H, T, D, {}};
  p.visible = [&g, &p](idx_t head, idx_t i, idx_t j) { return g.Sees(p, head, i, j); };
  CheckBf16(p, [&](Context& context, Bf16Tensors& x) { g.Run(context, p, x); });
}

TEST(GlobalBf16, LayoutsAndHeadSizes) {
  for (const bool causal : {false, true}) {
    for (const Layout layout : {Layout::kEnds, Layout::kMany, Layout::kHoles, Layout::kAllGlobal,
                                Layout::kPadded, Layout::kRagged}) {
      Global g = MakeGlobal(layout, 90, 2);
      g.spec.causal = causal;
      CheckGlobal(g, 90, 12, 2, 2);
    }
    for (const idx_t D : {1, 20, 64, 130}) {
      Global g = MakeGlobal(Layout::kMany, 61, 1);
      g.spec.causal = causal;
      CheckGlobal(g, 61, D, 1, 1);
    }
  }
  CheckGlobal(MakeGlobal(Layout::kEnds, 700, 1), 700, 16, 1, 1);  // several parts of the keys
}

// Several batches of queries and parts of the keys, of which causal queries see some or none.
TEST(GlobalBf16, BatchesAndPartsOnTiles) {
  if (ActiveIsa() < Isa::kAvx2) GTEST_SKIP() << "takes long without vectors";
  Global g;
  for (idx_t t = 0; t < 640; ++t) {
    g.roles.push_back(t % 2 == 0 ? kGlobalToken : (t % 7 == 3 ? kHiddenToken : kLocalToken));
  }
  const Bf16Problem p{1, 1, 640, 32, {}};
  for (const bool causal : {false, true}) {
    for (const float factor : {1.0f, 64.0f}) {  // 64: scores need their maxima
      g.spec.causal = causal;
      g.spec.dropout = {causal ? 0.3f : 0.0f, 9};
      Bf16Tensors given(p);
      for (bfloat16& q : given.q) q = ToBfloat16(ToFloat(q) * factor);
      ExpectTilesMatchWidened(
          given,
          [&](Bf16Tensors& x) {
            Context context(2);
            g.Run(context, p, x);
          },
          factor == 1.0f);
    }
  }
}

TEST(GlobalBf16, AHiddenTokenSeenIsFound) {
  const Global g = MakeGlobal(Layout::kPadded, 60, 1);
  Global wrong = g;
  wrong.roles.back() = kLocalToken;
  Bf16Problem p{1, 1, 60, 16, {}};
  p.visible = [&](idx_t head, idx_t i, idx_t j) { return g.Sees(p, head, i, j); };
  const auto tolerance = Bf16Tolerance(p);
  Bf16Tensors x(p);
  std::fill_n(x.k.end() - 16, 16, ToBfloat16(0.0f));
  std::fill_n(x.v.end() - 16, 16, ToBfloat16(50.0f));
  const auto oracle = Bf16Oracle(p, x);
  Context context(1);
  wrong.Run(context, p, x);
  const Tolerance tenfold{10 * tolerance[0].max_abs, 10 * tolerance[0].rel_l2};
  EXPECT_FALSE(Compare(std::span<const float>(x.Result().out), oracle[0], tenfold).ok);
}

// ---- re-associated ------------------------------------------------------------------------------

struct Wide : Case {
  explicit Wide(const Case& c, idx_t channels) : Case(c), C(channels) {}
  idx_t C;
  idx_t width() const { return shape.H * shape.D; }
};

Wide MakeWide(idx_t T, idx_t C, Layout layout, idx_t D, idx_t B, idx_t H) {
  Case c = MakeCase(T, 5, 5, D, B, H);
  c.SetRoles(MakeRoles(c, layout));
  return Wide(c, C);
}

std::vector<bfloat16> Rounded(std::vector<float>* values) {
  std::vector<bfloat16> rounded;
  for (float& value : *values) {
    rounded.push_back(ToBfloat16(value));
    value = ToFloat(rounded.back());
  }
  return rounded;
}

struct WideTensors {
  explicit WideTensors(const Wide& c)
      : x(RandomNormal(c.seed, c.shape.B * c.shape.T * c.C)),
        qg(RandomNormal(c.seed + 1, c.global_size())),
        dout(RandomNormal(c.seed + 2, c.size())),
        wk(RandomNormal(c.seed + 3, c.width() * c.C, 1.0f / std::sqrt(static_cast<float>(c.C)))),
        wv(RandomNormal(c.seed + 4, c.width() * c.C, 1.0f / std::sqrt(static_cast<float>(c.C)))),
        bk(RandomNormal(c.seed + 5, c.width())),
        bv(RandomNormal(c.seed + 6, c.width())),
        bf16_x(Rounded(&x)),
        bf16_qg(Rounded(&qg)),
        bf16_dout(Rounded(&dout)) {}
  std::vector<float> x, qg, dout, wk, wv, bk, bv;
  std::vector<bfloat16> bf16_x, bf16_qg, bf16_dout;
};

template <class T>
struct WideResult {
  std::vector<T> out, lse, dx, dqg, dwk, dwv, dbv;
  std::vector<std::pair<const char*, const std::vector<T>*>> Parts() const {
    return {{"out", &out}, {"lse", &lse}, {"dx", &dx},  {"dqg", &dqg},
            {"dwk", &dwk}, {"dwv", &dwv}, {"dbv", &dbv}};
  }
};

template <class T>
WideResult<T> Zeros(const Wide& c) {
  const auto n = [](idx_t count) { return std::vector<T>(static_cast<std::size_t>(count)); };
  return {n(c.size()),        n(c.rows()),        n(c.shape.B * c.shape.T * c.C),
          n(c.global_size()), n(c.width() * c.C), n(c.width() * c.C),
          n(c.width())};
}

// As a framework does it: projections, then attention; `round` goes over what they hand each other.
template <class T, class Round>
WideResult<T> Projected(const Wide& c, const WideTensors& in, const Round& round) {
  WideResult<T> y = Zeros<T>(c);
  const auto as = [](const std::vector<float>& a) { return std::vector<T>(a.begin(), a.end()); };
  const auto over = [&](std::vector<T> a) {
    for (T& value : a) value = round(value);
    return a;
  };
  const auto x = as(in.x), qg = as(in.qg), wk = over(as(in.wk)), wv = over(as(in.wv));
  const auto bk = as(in.bk), bv = as(in.bv), dout = as(in.dout);
  const auto kg = over(ref::ProjectHeads<T>(c.shape, c.C, x.data(), wk.data(), bk.data()));
  const auto vg = over(ref::ProjectHeads<T>(c.shape, c.C, x.data(), wv.data(), bv.data()));
  ref::GlobalForward<T>(c.spec, c.shape, qg.data(), kg.data(), vg.data(), c.roles, y.out.data(),
                        y.lse.data());
  y.out = over(y.out);
  std::vector<T> dkg(kg.size()), dvg(vg.size()), dbk(bk.size());
  ref::GlobalBackward<T>(c.spec, c.shape, qg.data(), kg.data(), vg.data(), c.roles, dout.data(),
                         y.dqg.data(), dkg.data(), dvg.data());
  ref::ProjectHeadsBackward<T>(c.shape, c.C, x.data(), wk.data(), over(dkg), y.dx.data(),
                               y.dwk.data(), dbk.data());
  ref::ProjectHeadsBackward<T>(c.shape, c.C, x.data(), wv.data(), over(dvg), y.dx.data(),
                               y.dwv.data(), y.dbv.data());
  for (auto* gradient : {&y.dx, &y.dqg, &y.dwk, &y.dwv, &y.dbv}) *gradient = over(*gradient);
  return y;
}

WideResult<float> RunWide(Context& context, const Wide& c, const WideTensors& in) {
  WideResult<float> y = Zeros<float>(c);
  std::vector<bfloat16> out(y.out.size());
  const Bf16AttentionSaved saved{{out.data(), c.extents()},
                                 {y.lse.data(), {c.shape.B, c.shape.H, c.shape.T}}};
  const idx_t width = c.width();
  const Bf16GlobalProjection input{{in.bf16_x.data(), {c.shape.B, c.shape.T, c.C}},
                                   {in.bf16_qg.data(), c.global_extents()},
                                   {in.wk.data(), {width, c.C}},
                                   {in.wv.data(), {width, c.C}},
                                   {in.bk.data(), {width}},
                                   {in.bv.data(), {width}}};
  GlobalReassociatedForward(context, c.spec, input, c.Roles(), saved);
  GlobalReassociatedBackward(context, c.spec, input, c.Roles(), saved,
                             {in.bf16_dout.data(), c.extents()},
                             {{y.dx.data(), {c.shape.B, c.shape.T, c.C}},
                              {y.dqg.data(), c.global_extents()},
                              {y.dwk.data(), {width, c.C}},
                              {y.dwv.data(), {width, c.C}},
                              {y.dbv.data(), {width}}});
  for (std::size_t i = 0; i < out.size(); ++i) y.out[i] = ToFloat(out[i]);
  return y;
}

std::vector<Tolerance> WideTolerance(Wide c) {
  std::vector<Tolerance> most(7);
  for (int i = 0; i < 6; ++i, ++c.seed) {
    const WideTensors in(c);
    const auto naive = Projected<float>(c, in, [](float v) { return ToFloat(ToBfloat16(v)); });
    const auto oracle = Projected<double>(c, in, [](double v) { return v; });
    for (std::size_t part = 0; part < most.size(); ++part) {
      RaiseTolerance(*naive.Parts()[part].second, *oracle.Parts()[part].second, part < 2 ? 2 : 3,
                     &most[part]);
    }
  }
  return most;
}

void CheckWide(const Wide& c) {
  SCOPED_TRACE(c.Name() + " C" + std::to_string(c.C));
  const WideTensors in(c);
  const auto oracle = Projected<double>(c, in, [](double v) { return v; });
  const auto tolerance = WideTolerance(c);
  Context context(1);
  const auto y = RunWide(context, c, in);
  for (std::size_t part = 0; part < tolerance.size(); ++part) {
    const auto [name, actual] = y.Parts()[part];
    const auto difference =
        Compare(std::span<const float>(*actual), *oracle.Parts()[part].second, tolerance[part]);
    EXPECT_TRUE(difference.ok) << name << ": " << difference.reason;
  }
  for (const int threads : {2, 3, 7, 8}) {
    Context more(threads);
    const auto other = RunWide(more, c, in);
    for (std::size_t part = 0; part < tolerance.size(); ++part) {
      EXPECT_SAME_BITS(*other.Parts()[part].second, *y.Parts()[part].second);
    }
  }
}

TEST(GlobalBf16, Reassociated) {
  for (const Layout layout : {Layout::kFirst, Layout::kEnds, Layout::kHoles, Layout::kPadded}) {
    Wide c = MakeWide(100, 24, layout, 8, 2, 3);
    CheckWide(c);
  }
  Wide causal = MakeWide(100, 24, Layout::kTogether, 8, 2, 3);
  causal.spec.causal = true;
  CheckWide(causal);
  Wide drops = MakeWide(100, 24, Layout::kEnds, 8, 2, 3);
  drops.spec.dropout = {0.3f, 17};
  CheckWide(drops);
  CheckWide(MakeWide(400, 300, Layout::kEnds, 20, 1, 2));  // several parts, a wide row
}

TEST(GlobalBf16, AReassociatedBiasForgottenIsFound) {
  const Wide c = MakeWide(90, 16, Layout::kPadded, 8, 2, 3);
  WideTensors in(c);
  const auto oracle = Projected<double>(c, in, [](double v) { return v; });
  const auto tolerance = WideTolerance(c);
  std::fill(in.bv.begin(), in.bv.end(), 0.0f);
  Context context(1);
  const auto y = RunWide(context, c, in);
  const auto difference = Compare(std::span<const float>(y.out), oracle.out, tolerance[0]);
  EXPECT_GT(difference.max_abs, 10 * tolerance[0].max_abs);
}

}  // namespace
}  // namespace longspan::test
