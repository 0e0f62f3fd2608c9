// Window attention and global rows of many texts in one call: against the reference of each text
// alone; the same bits in any company; bad starts.
#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/window_attention/window_attention.h"
#include "ops/window_attention/window_attention_test.h"
#include "tests/support/bf16_attention.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"
#include "tests/support/texts.h"

namespace longspan::test {
namespace {

// Texts with one H, D and spec, all with roles or none, and their row.
struct TextRow {
  explicit TextRow(std::vector<Case> parts) : texts(std::move(parts)) {
    std::vector<idx_t> lengths, globals;
    row = texts.front();
    row.roles.clear();
    for (const Case& text : texts) {
      lengths.push_back(text.shape.T);
      globals.push_back(text.shape.G);
      row.roles.insert(row.roles.end(), text.roles.begin(), text.roles.end());
    }
    starts = StartsOf(lengths);
    first_global = StartsOf(globals);
    row.shape.T = starts.back();
    row.shape.G = first_global.back();
  }
  idx_t H() const { return row.shape.H; }
  // Text d as the reference has it: with dropout of its own.
  Case Alone(std::size_t d) const {
    Case c = texts[d];
    c.spec.dropout.key = DeriveKey(c.spec.dropout.key, d);
    return c;
  }
  // The row with its spec; `spec.starts` shows memory of this.
  Case WithStarts() const {
    Case c = row;
    c.spec.starts = starts;
    return c;
  }
  void Put(const std::vector<float>& from, std::size_t d, std::vector<float>* to) const {
    PutText(from, H(), texts[d].shape.T, starts[d], row.shape.T, to);
  }
  void PutGlobals(const std::vector<float>& from, std::size_t d, std::vector<float>* to) const {
    PutText(from, H(), texts[d].shape.G, first_global[d], row.shape.G, to);
  }
  std::vector<float> TakeTokens(const std::vector<float>& from, std::size_t d) const {
    return TakeText(from, H(), texts[d].shape.T, starts[d], row.shape.T);
  }
  std::vector<float> TakeGlobals(const std::vector<float>& from, std::size_t d) const {
    return TakeText(from, H(), texts[d].shape.G, first_global[d], row.shape.G);
  }
  Outputs<float> Run(Context& context) const {
    const Case c = WithStarts();
    Inputs x(c);
    for (std::size_t d = 0; d < texts.size(); ++d) {
      const Inputs own(texts[d]);
      Put(own.q, d, &x.q);
      Put(own.k, d, &x.k);
      Put(own.v, d, &x.v);
      Put(own.dout, d, &x.dout);
      Put(own.kg, d, &x.kg);
      Put(own.vg, d, &x.vg);
      PutGlobals(own.qg, d, &x.qg);
    }
    return RunKernel(context, c, x);
  }
  Outputs<float> Take(const Outputs<float>& y, std::size_t d) const {
    Outputs<float> own(texts[d]);
    own.out = TakeTokens(y.out, d);
    own.lse = TakeTokens(y.lse, d);
    own.dq = TakeTokens(y.dq, d);
    own.dk = TakeTokens(y.dk, d);
    own.dv = TakeTokens(y.dv, d);
    own.dkg = TakeTokens(y.dkg, d);
    own.dvg = TakeTokens(y.dvg, d);
    own.dqg = TakeGlobals(y.dqg, d);
    return own;
  }

  std::vector<Case> texts;
  std::vector<idx_t> starts, first_global;
  Case row;
};

std::vector<Case> TextCases(const std::vector<idx_t>& lengths, idx_t left, idx_t right, idx_t D,
                            idx_t H, bool causal) {
  std::vector<Case> cases;
  for (const idx_t T : lengths) {
    cases.push_back(MakeCase(T, left, right, D, 1, H));
    cases.back().seed = 20 + cases.size();
    cases.back().spec.causal = causal;
  }
  return cases;
}

// Layouts one after another, so that neighbours differ.
void MixRoles(std::vector<Case>* cases) {
  std::size_t i = 0;
  for (Case& c : *cases) c.SetRoles(MakeRoles(c, kLayouts[i++ % std::size(kLayouts)]));
}

void ExpectSameOutputs(const Outputs<float>& actual, const Outputs<float>& expected) {
  for (std::size_t part = 0; part < expected.Parts().size(); ++part) {
    if (expected.Parts()[part].second->empty()) continue;  // no global tokens
    SCOPED_TRACE(expected.Parts()[part].first);
    EXPECT_SAME_BITS(*actual.Parts()[part].second, *expected.Parts()[part].second);
  }
}

// Texts up to this length are planned as a call with one text plans them.
constexpr idx_t kSamePlan = 90;

void CheckTexts(Context& context, const TextRow& row) {
  SCOPED_TRACE(row.row.Name());
  const auto y = row.Run(context);
  for (std::size_t d = 0; d < row.texts.size(); ++d) {
    const Case alone = row.Alone(d);
    SCOPED_TRACE(alone.Name());
    const auto oracle = OracleOf(alone);
    const auto own = row.Take(y, d);
    ExpectOutputs(alone, own, oracle, ToleranceOf(alone, oracle));
    if (alone.shape.T <= kSamePlan) {
      ExpectSameOutputs(own, RunKernel(context, alone, Inputs(alone)));
    }
  }
}

TEST(WindowTexts, EachIsACallOfItsOwn) {
  Context context(2);
  for (const bool causal : {false, true}) {
    for (const idx_t window : {0, 5, 100}) {
      CheckTexts(context, TextRow(TextCases({1, 2, 70, 1, 13, 260}, window, window, 8, 2, causal)));
    }
  }
  for (const idx_t D : {16, 64, 256}) {
    CheckTexts(context, TextRow(TextCases({40, 3, 110}, 9, 4, D, 1, false)));
  }
  auto dilated = TextCases({1, 30, 4, 100}, 6, 3, 8, 2, false);
  for (Case& c : dilated) c.spec.dilation = {1, 4};
  CheckTexts(context, TextRow(dilated));
}

TEST(WindowTexts, RolesAreTheTextsOwn) {
  Context context(3);
  for (const bool causal : {false, true}) {
    auto cases = TextCases({30, 12, 100, 25, 40, 3, 21, 2, 64, 55}, 7, 7, 8, 2, causal);
    MixRoles(&cases);
    CheckTexts(context, TextRow(cases));
    for (Case& c : cases) c.spec.dilation = {1, 3};
    CheckTexts(context, TextRow(cases));
  }
  auto few = TextCases({200, 20, 500}, 30, 30, 16, 1, false);  // one global in each
  for (Case& c : few) c.SetRoles(MakeRoles(c, Layout::kFirst));
  CheckTexts(context, TextRow(few));
}

TEST(WindowTexts, DropoutIsTheTextsOwn) {
  Context context(2);
  auto cases = TextCases({20, 90, 20}, 8, 8, 8, 2, false);
  for (Case& c : cases) {
    c.spec.dropout = {0.3f, 77};
    c.SetRoles(MakeRoles(c, Layout::kEnds));
  }
  CheckTexts(context, TextRow(cases));
}

// A text's results are the same bits alone, in any company and in any order.
TEST(WindowTexts, CompanyChangesNoBit) {
  for (const bool causal : {false, true}) {
    auto cases = TextCases({5000, 20, 1, 1500, 333, 20, 500}, 100, 60, 16, 2, causal);
    MixRoles(&cases);
    const TextRow together(cases);
    Context context(2);
    const auto y = together.Run(context);
    for (std::size_t d = 0; d < cases.size(); ++d) {
      SCOPED_TRACE(cases[d].Name());
      ExpectSameOutputs(TextRow({cases[d]}).Run(context), together.Take(y, d));
    }
    if (causal) continue;  // which changes nothing in how work is shared
    ExpectSameBitsForAnyThreads([&](Context& c) { return together.Run(c).All(); });
    const TextRow turned({cases.rbegin(), cases.rend()});
    const auto z = turned.Run(context);
    for (std::size_t d = 0; d < cases.size(); ++d) {
      SCOPED_TRACE(cases[d].Name());
      ExpectSameOutputs(turned.Take(z, cases.size() - 1 - d), together.Take(y, d));
    }
  }
}

// Whoever finds the global tokens once gets the same bits; those of another row are refused.
TEST(WindowTexts, GlobalTokensMayBeGiven) {
  auto cases = TextCases({30, 12, 100}, 7, 7, 8, 2, false);
  MixRoles(&cases);
  const TextRow row(cases);
  const GlobalTokens globals = FindGlobalTokens(row.row.Roles(), 1, row.starts);
  EXPECT_EQ(globals.first.size(), 4u);
  EXPECT_EQ(globals.first.back(), row.row.shape.G);
  Context context(2);
  TextRow given(cases);
  given.row.spec.globals = &globals;
  ExpectSameOutputs(given.Run(context), row.Run(context));
  const GlobalTokens other = FindGlobalTokens(row.row.Roles(), 1);
  given.row.spec.globals = &other;
  EXPECT_TRUE(Throws([&] { given.Run(context); }, ErrorCode::kUsage,
                     "global tokens of 1 texts are given for 3"));
}

TEST(WindowTexts, Bf16) {
  const std::vector<idx_t> lengths = {1, 2, 40, 100, 7}, starts = StartsOf(lengths);
  const auto text = [&](idx_t t) {
    return std::upper_bound(starts.begin(), starts.end(), t) - starts.begin();
  };
  for (const bool causal : {false, true}) {
    WindowSpec spec;
    spec.left = 12;
    spec.right = 5;
    spec.causal = causal;
    spec.starts = starts;
    const Bf16Problem p{1, 2, starts.back(), 16, [&](idx_t, idx_t i, idx_t j) {
                          return text(i) == text(j) && i - j <= 12 && j - i <= (causal ? 0 : 5);
                        }};
    CheckBf16(p, [&](Context& context, Bf16Tensors& x) {
      WindowForward(context, spec, x.Qkv(), {}, x.Saved());
      WindowBackward(context, spec, x.Qkv(), {}, x.Saved(), x.Dout(), x.Gradients());
    });
  }
}

// ---- the re-associated form ---------------------------------------------------------------------

// What both forms of the global rows write: out and lse of global tokens, gradients of x, weights
// and queries. The projected form is the one that the tests above hold to the reference.
struct RowsOfGlobals {
  static constexpr idx_t C = 20;
  explicit RowsOfGlobals(const TextRow& row)
      : c(row.WithStarts()),
        width(c.shape.H * c.shape.D),
        x(RandomNormal(1, c.shape.T * C)),
        qg(RandomNormal(2, c.global_size())),
        wk(RandomNormal(3, width * C, 0.2f)),
        wv(RandomNormal(4, width * C, 0.2f)),
        bk(RandomNormal(5, width)),
        bv(RandomNormal(6, width)),
        dout(RandomNormal(7, c.size())) {}

  struct Result {
    std::vector<float> out, lse, dx, dqg, dwk, dwv, dbv;
  };
  Result Zeros() const {
    const auto floats = [](idx_t n) { return std::vector<float>(static_cast<std::size_t>(n)); };
    return {floats(c.size()),  floats(c.rows()),  floats(c.shape.T * C), floats(c.global_size()),
            floats(width * C), floats(width * C), floats(width)};
  }
  Result Reassociated(Context& context) const {
    Result y = Zeros();
    const AttentionSaved saved{{y.out.data(), c.extents()},
                               {y.lse.data(), {1, c.shape.H, c.shape.T}}};
    const GlobalProjection in{{x.data(), {1, c.shape.T, C}}, {qg.data(), c.global_extents()},
                              {wk.data(), {width, C}},       {wv.data(), {width, C}},
                              {bk.data(), {width}},          {bv.data(), {width}}};
    GlobalReassociatedForward(context, c.spec, in, c.Roles(), saved);
    GlobalReassociatedBackward(context, c.spec, in, c.Roles(), saved, {dout.data(), c.extents()},
                               {{y.dx.data(), {1, c.shape.T, C}},
                                {y.dqg.data(), c.global_extents()},
                                {y.dwk.data(), {width, C}},
                                {y.dwv.data(), {width, C}},
                                {y.dbv.data(), {width}}});
    return y;
  }
  // The reference of the projected form, in double, text by text.
  std::vector<double> Out(const TextRow& row) const {
    const auto wide = [](const std::vector<float>& a) {
      return std::vector<double>(a.begin(), a.end());
    };
    const auto xs = wide(x), k = wide(wk), v = wide(wv), kb = wide(bk), vb = wide(bv);
    std::vector<double> out(static_cast<std::size_t>(c.size()));
    for (std::size_t d = 0; d < row.texts.size(); ++d) {
      const Case alone = row.Alone(d);
      const double* own = xs.data() + row.starts[d] * C;
      const auto kg = ref::ProjectHeads<double>(alone.shape, C, own, k.data(), kb.data());
      const auto vg = ref::ProjectHeads<double>(alone.shape, C, own, v.data(), vb.data());
      const auto q = wide(row.TakeGlobals(qg, d));
      std::vector<double> text(static_cast<std::size_t>(alone.size()));
      std::vector<double> lse(static_cast<std::size_t>(alone.rows()));
      ref::GlobalForward<double>(alone.spec, alone.shape, q.data(), kg.data(), vg.data(),
                                 alone.roles, text.data(), lse.data());
      PutText(text, c.shape.H, alone.shape.T, row.starts[d], c.shape.T, &out);
    }
    return out;
  }

  Case c;
  idx_t width;
  std::vector<float> x, qg, wk, wv, bk, bv, dout;
};

// Gradients of one call are the sums of the texts' own calls.
TEST(WindowTexts, ReassociatedEqualsACallAText) {
  for (const float p : {0.0f, 0.3f}) {
    auto cases = TextCases({30, 12, 100, 9, 40, 3, 21, 2, 64, 55, 200}, 7, 7, 4, 3, false);
    for (Case& c : cases) c.spec.dropout = {p, 5};
    MixRoles(&cases);
    const TextRow row(cases);
    const RowsOfGlobals problem(row);
    Context context(2);
    const auto y = problem.Reassociated(context);
    const auto oracle = problem.Out(row);
    EXPECT_MATCHES(std::span<const float>(y.out), oracle, (Tolerance{1e-5, 1e-6}));

    auto sums = problem.Zeros();
    for (std::size_t d = 0; d < row.texts.size(); ++d) {
      const TextRow only({row.Alone(d)});
      RowsOfGlobals part(only);
      part.c.spec.starts = {};  // a call without texts
      const idx_t T = part.c.shape.T;
      part.x = TakeText(problem.x, 1, T, row.starts[d], row.row.shape.T);
      part.qg = row.TakeGlobals(problem.qg, d);
      part.dout = row.TakeTokens(problem.dout, d);
      if (part.c.shape.G == 0) continue;
      const auto own = part.Reassociated(context);
      PutText(own.dx, 1, T, row.starts[d], row.row.shape.T, &sums.dx);
      row.PutGlobals(own.dqg, d, &sums.dqg);
      for (std::size_t i = 0; i < own.dwk.size(); ++i) sums.dwk[i] += own.dwk[i];
      for (std::size_t i = 0; i < own.dwv.size(); ++i) sums.dwv[i] += own.dwv[i];
      for (std::size_t i = 0; i < own.dbv.size(); ++i) sums.dbv[i] += own.dbv[i];
    }
    const Tolerance rounding{1e-4, 1e-5};
    EXPECT_MATCHES(std::span<const float>(y.dx), ToDouble(sums.dx), rounding);
    EXPECT_MATCHES(std::span<const float>(y.dqg), ToDouble(sums.dqg), rounding);
    EXPECT_MATCHES(std::span<const float>(y.dwk), ToDouble(sums.dwk), rounding);
    EXPECT_MATCHES(std::span<const float>(y.dwv), ToDouble(sums.dwv), rounding);
    EXPECT_MATCHES(std::span<const float>(y.dbv), ToDouble(sums.dbv), rounding);
  }
}

TEST(WindowTexts, ReassociatedCompanyChangesNoBit) {
  auto cases = TextCases(std::vector<idx_t>(70, 9), 7, 7, 4, 3, false);  // more than run at once
  cases.push_back(TextCases({2000}, 7, 7, 4, 3, false)[0]);
  MixRoles(&cases);
  const TextRow row(cases);
  const RowsOfGlobals problem(row);
  ExpectSameBitsForAnyThreads([&](Context& context) {
    const auto y = problem.Reassociated(context);
    std::vector<float> all;
    for (const auto* part : {&y.out, &y.lse, &y.dx, &y.dqg, &y.dwk, &y.dwv, &y.dbv}) {
      all.insert(all.end(), part->begin(), part->end());
    }
    return all;
  });
  Context context(2);
  const auto y = problem.Reassociated(context);
  for (std::size_t d = 0; d < cases.size(); ++d) {
    const TextRow only({cases[d]});
    RowsOfGlobals part(only);
    const idx_t T = part.c.shape.T;
    part.x = TakeText(problem.x, 1, T, row.starts[d], row.row.shape.T);
    part.qg = row.TakeGlobals(problem.qg, d);
    part.dout = row.TakeTokens(problem.dout, d);
    const auto own = part.Reassociated(context);
    EXPECT_SAME_BITS(own.out, row.TakeTokens(y.out, d));
    EXPECT_SAME_BITS(own.lse, row.TakeTokens(y.lse, d));
    EXPECT_SAME_BITS(own.dx, TakeText(y.dx, 1, T, row.starts[d], row.row.shape.T));
    if (part.c.shape.G > 0) EXPECT_SAME_BITS(own.dqg, row.TakeGlobals(y.dqg, d));
  }
}

// ---- plans, errors ------------------------------------------------------------------------------

// A short text is one task a head; a very long one is cut as if it stood alone.
TEST(WindowTexts, PlansFollowFromTheTextAlone) {
  const std::vector<idx_t> starts = {0, 1};
  WindowSpec spec, alone;
  spec.starts = starts;
  const auto plan = [](const WindowSpec& s, idx_t T) {
    return MakeWindowPlan(s, {1, 12, T, 64}, 1);
  };
  EXPECT_EQ(plan(spec, 2000).runs, 1);
  EXPECT_EQ(plan(spec, 2000).groups, 1);
  EXPECT_EQ(plan(spec, 2000).parts, 1);
  EXPECT_GT(plan(alone, 2000).runs, 1);
  EXPECT_GT(plan(alone, 2000).groups, 1);
  EXPECT_EQ(plan(spec, 20000).run, plan(alone, 20000).run);
  EXPECT_EQ(plan(spec, 20000).group, plan(alone, 20000).group);
}

TEST(WindowTexts, BadStartsAndQueriesAreNamed) {
  std::vector<float> floats(400);
  const std::vector<std::uint8_t> roles = {2, 1, 1, 2, 2, 1, 1, 1, 1, 1};
  const std::vector<idx_t> good = {0, 3, 10}, bad = {0, 3, 9};
  const View<float, 4> x(floats.data(), {1, 1, 10, 4}), two(floats.data(), {1, 1, 2, 4});
  const View<float, 3> lse(floats.data(), {1, 1, 10});
  WindowSpec spec;
  Context context(1);
  const TokenRoles view(roles.data(), {1, 10});
  spec.starts = bad;
  EXPECT_TRUE(Throws(
      [&] {
        WindowForward(context, spec, {x, x, x}, view, {x, lse});
      },
      ErrorCode::kUsage, "window attention: the last of the starts is 9"));
  spec.starts = good;
  EXPECT_TRUE(Throws(
      [&] {
        GlobalForward(context, spec, {two, x, x}, view, {x, lse});
      },
      ErrorCode::kUsage, "qg has 2 rows for 3 global tokens"));
}

}  // namespace
}  // namespace longspan::test
