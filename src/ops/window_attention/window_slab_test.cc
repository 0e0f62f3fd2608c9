// Window attention of slabs: put side by side they are the whole row's, and their parts of the
// global tokens' rows are joined.
#include "ops/window_attention/window_slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "longspan/error.h"
#include "ops/window_attention/window_attention_test.h"
#include "tests/support/files.h"
#include "tests/support/runners.h"

namespace longspan::test {
namespace {

using Floats = std::vector<float>;

// Rows of an (1, H, T, D) array as an array of their own, (1, H, rows, D).
Floats TakeTokens(const Floats& all, const ref::WindowShape& s, const std::vector<idx_t>& tokens,
                  idx_t size) {
  Floats part;
  for (idx_t h = 0; h < s.H; ++h) {
    for (const idx_t t : tokens) {
      const auto at = all.begin() + (h * s.T + t) * size;
      part.insert(part.end(), at, at + size);
    }
  }
  return part;
}
// Adds them back.
void AddTokens(const Floats& part, const ref::WindowShape& s, const std::vector<idx_t>& tokens,
               idx_t size, Floats& all) {
  std::size_t i = 0;
  for (idx_t h = 0; h < s.H; ++h) {
    for (const idx_t t : tokens) {
      for (idx_t d = 0; d < size; ++d) {
        all[static_cast<std::size_t>((h * s.T + t) * size + d)] += part[i++];
      }
    }
  }
}

std::vector<idx_t> Range(idx_t begin, idx_t end) {
  std::vector<idx_t> tokens;
  for (idx_t t = begin; t < end; ++t) tokens.push_back(t);
  return tokens;
}

View<const float, 4> InOf(const Floats& a, const ref::WindowShape& s, idx_t rows) {
  return {a.data(), {1, s.H, rows, s.D}};
}
View<float, 4> OutOf(Floats& a, const ref::WindowShape& s, idx_t rows) {
  a.assign(static_cast<std::size_t>(s.H * rows * s.D), 0.0f);
  return {a.data(), {1, s.H, rows, s.D}};
}
AttentionSaved SavedOf(Floats& out, Floats& lse, const ref::WindowShape& s, idx_t rows) {
  lse.assign(static_cast<std::size_t>(s.H * rows), 0.0f);
  return {OutOf(out, s, rows), {lse.data(), {1, s.H, rows}}};
}

// The rows of local tokens of one slab, there and back.
void RunLocal(Context& context, const Case& c, const WindowSlab& slab, const Inputs& x,
              Outputs<float>& y) {
  const auto own = Range(slab.begin, slab.end);
  auto keys = Range(slab.begin - slab.before, slab.end + slab.after);
  ref::Roles role_rows;
  for (const idx_t t : keys) {
    if (!c.roles.empty()) role_rows.push_back(c.roles[static_cast<std::size_t>(t)]);
  }
  TokenRoles roles;
  if (!role_rows.empty()) roles = TokenRoles(role_rows.data(), {1, slab.Keys()});
  // Between them may be others, which get no gradient: here token 0.
  keys.resize(static_cast<std::size_t>(slab.GlobalKeys()), 0);
  keys.insert(keys.end(), slab.globals.begin(), slab.globals.end());
  const idx_t M = slab.Queries(), N = std::ssize(keys), D = c.shape.D;
  const Floats q = TakeTokens(x.q, c.shape, own, D), k = TakeTokens(x.k, c.shape, keys, D),
               v = TakeTokens(x.v, c.shape, keys, D), dout = TakeTokens(x.dout, c.shape, own, D);
  Floats out, lse, dq, dk, dv;
  const Qkv qkv{InOf(q, c.shape, M), InOf(k, c.shape, N), InOf(v, c.shape, N)};
  const AttentionSaved saved = SavedOf(out, lse, c.shape, M);
  WindowForward(context, c.spec, slab, qkv, roles, saved);
  WindowBackward(context, c.spec, slab, qkv, roles, saved, InOf(dout, c.shape, M),
                 {OutOf(dq, c.shape, M), OutOf(dk, c.shape, N), OutOf(dv, c.shape, N)});
  AddTokens(out, c.shape, own, D, y.out);
  AddTokens(lse, c.shape, own, 1, y.lse);
  AddTokens(dq, c.shape, own, D, y.dq);
  AddTokens(dk, c.shape, keys, D, y.dk);
  AddTokens(dv, c.shape, keys, D, y.dv);
}

// The rows of global tokens: each slab's part, joined; then each slab's way back.
void RunGlobal(Context& context, const Case& c, const std::vector<WindowSlab>& slabs,
               const Inputs& x, Outputs<float>& y) {
  const std::vector<idx_t>& globals = slabs.front().globals;
  const idx_t G = std::ssize(globals), D = c.shape.D;
  if (G == 0) return;
  const Floats dout = TakeTokens(x.dout, c.shape, globals, D);
  std::vector<Floats> outs(slabs.size()), lses(slabs.size());
  std::vector<AttentionSaved> parts;
  const auto each = [&](const auto& use) {
    for (std::size_t i = 0; i < slabs.size(); ++i) {
      const auto own = Range(slabs[i].begin, slabs[i].end);
      const idx_t M = slabs[i].Queries();
      const Floats kg = TakeTokens(x.kg, c.shape, own, D), vg = TakeTokens(x.vg, c.shape, own, D);
      const TokenRoles roles = c.roles.empty()
                                   ? TokenRoles()
                                   : TokenRoles(&c.roles[static_cast<std::size_t>(own[0])], {1, M});
      const GlobalQkv qkv{InOf(x.qg, c.shape, G), InOf(kg, c.shape, M), InOf(vg, c.shape, M)};
      use(i, qkv, roles, own, M);
    }
  };
  each([&](std::size_t i, const GlobalQkv& qkv, const TokenRoles& roles, const auto&, idx_t) {
    parts.push_back(SavedOf(outs[i], lses[i], c.shape, G));
    GlobalForward(context, c.spec, slabs[i], qkv, roles, parts.back());
  });
  Floats out, lse, dqg, dkg, dvg;
  const AttentionSaved saved = SavedOf(out, lse, c.shape, G);
  JoinParts(context, parts, saved);
  AddTokens(out, c.shape, globals, D, y.out);
  AddTokens(lse, c.shape, globals, 1, y.lse);
  each([&](std::size_t i, const GlobalQkv& qkv, const TokenRoles& roles, const auto& own, idx_t M) {
    GlobalBackward(context, c.spec, slabs[i], qkv, roles, saved, InOf(dout, c.shape, G),
                   {OutOf(dqg, c.shape, G), OutOf(dkg, c.shape, M), OutOf(dvg, c.shape, M)});
    for (std::size_t j = 0; j < dqg.size(); ++j) y.dqg[j] += dqg[j];
    AddTokens(dkg, c.shape, own, D, y.dkg);
    AddTokens(dvg, c.shape, own, D, y.dvg);
  });
}

// Slabs that begin at these tokens; the last one ends with the row. `more`: keys of the halo beyond
// what windows need. `apart`: keys between these and those of global tokens.
Outputs<float> RunSlabs(Context& context, const Case& c, std::vector<idx_t> starts, idx_t more = 0,
                        idx_t apart = 0) {
  const Inputs x(c);
  Outputs<float> y(c);
  const GlobalTokens globals = FindGlobalTokens(c.Roles(), 1);
  starts.push_back(c.shape.T);
  std::vector<WindowSlab> slabs;
  for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
    WindowSlab slab = WindowSlab::Of(c.spec, c.shape.T, starts[i], starts[i + 1]);
    slab.before = std::min(slab.before + more, slab.begin);
    slab.after = std::min(slab.after + more, c.shape.T - slab.end);
    slab.globals = globals.positions;
    if (apart > 0) slab.global_keys = slab.Keys() + apart;
    slabs.push_back(slab);
    RunLocal(context, c, slab, x, y);
  }
  RunGlobal(context, c, slabs, x, y);
  return y;
}

void CheckSlabs(Context& context, const Case& c, const std::vector<idx_t>& starts, idx_t more = 0,
                idx_t apart = 0) {
  SCOPED_TRACE(c.Name());
  const auto oracle = OracleOf(c);
  ExpectOutputs(c, RunSlabs(context, c, starts, more, apart), oracle, ToleranceOf(c, oracle));
}

TEST(WindowSlab, SlabsSideBySideAreTheRow) {
  Context context(2);
  CheckSlabs(context, MakeCase(70, 9, 4), {0, 20, 21, 40});
  CheckSlabs(context, MakeCase(70, 9, 4), {0, 31}, 5);
  CheckSlabs(context, MakeCase(70, 40, 30), {0, 20, 40});  // wider than a slab
  CheckSlabs(context, MakeCase(70, 500, 500), {0, 33});    // wider than the row
  CheckSlabs(context, MakeCase(70, 0, 0), {0, 33});
  CheckSlabs(context, MakeCase(70, 9, 4), {0});
  Case causal = MakeCase(70, 12, 5);
  causal.spec.causal = true;
  CheckSlabs(context, causal, {0, 20, 41});
  Case dilated = MakeCase(70, 5, 4, 5, 1, 3);
  dilated.spec.dilation = {1, 3, 40};
  CheckSlabs(context, dilated, {0, 20, 41});
}

// More than one block of keys and one run of queries, in rings and in blocks.
TEST(WindowSlab, LongSlabsAreTheRow) {
  Context context(2);
  CheckSlabs(context, MakeCase(900, 70, 40), {0, 300, 650});
  CheckSlabs(context, MakeCase(900, 700, 700, 100), {0, 450});
}

TEST(WindowSlab, GlobalTokensStandAnywhere) {
  Context context(2);
  for (const Layout layout : kLayouts) {
    Case c = MakeCase(70, 9, 4, 5, 1, 2);
    c.SetRoles(MakeRoles(c, layout));
    CheckSlabs(context, c, {0, 20, 41});
    CheckSlabs(context, c, {0, 20, 41}, 0, 3);
  }
  // A slab without a key that is shown.
  Case c = MakeCase(70, 9, 4, 5, 1, 2);
  ref::Roles roles(70, kLocalToken);
  std::fill(roles.begin() + 20, roles.begin() + 41, kHiddenToken);
  roles[3] = roles[60] = kGlobalToken;
  c.SetRoles(roles);
  CheckSlabs(context, c, {0, 20, 41});
}

TEST(WindowSlab, DrawsTheMasksOfTheRow) {
  Context context(2);
  Case c = MakeCase(70, 9, 4, 5, 1, 2);
  c.SetRoles(MakeRoles(c, Layout::kHoles));
  c.spec.dropout = {0.3f, 21};
  CheckSlabs(context, c, {0, 20, 41});
  c.SetRoles(MakeRoles(c, Layout::kEnds));  // few global keys go another way
  CheckSlabs(context, c, {0, 20, 41});
}

TEST(WindowSlab, AnyNumberOfThreadsGivesTheSameBits) {
  Case c = MakeCase(700, 40, 40);
  c.SetRoles(MakeRoles(c, Layout::kEnds));
  Context one(1), seven(7);
  EXPECT_SAME_BITS(std::span<const float>(RunSlabs(one, c, {0, 300}).All()),
                   std::span<const float>(RunSlabs(seven, c, {0, 300}).All()));
}

TEST(WindowSlab, RefusesSlabsThatAreNone) {
  Context context(1);
  Case c = MakeCase(40, 9, 4);
  const Inputs x(c);
  const auto refused = [&](const WindowSlab& slab, std::string_view says) {
    Outputs<float> y(c);
    EXPECT_TRUE(Throws([&] { RunLocal(context, c, slab, x, y); }, ErrorCode::kUsage, says)) << says;
  };
  refused({40, 20, 20, 9, 4, {}}, "from token 20 to 20");
  refused({40, 10, 20, 8, 4, {}}, "it needs 9 and 4");
  refused({40, 10, 20, 9, 3, {}}, "it needs 9 and 4");
  refused({40, 10, 20, 9, 4, {15}}, "token 15 of the row is global");
  refused({40, 10, 20, 9, 4, {15, 15}}, "places must ascend");
  refused({40, 10, 20, 9, 4, {}, 22}, "begin at 22, among the 23");
  c.spec.causal = true;
  refused({40, 10, 20, 9, 0, {15}}, "causal row cannot have global tokens");
}

TEST(WindowSlab, JoinedPartsWithoutKeysAreNothing) {
  Context context(1);
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  Floats a = {1.0f, 2.0f}, b = {5.0f, 6.0f}, lse_a = {kNone, kNone}, lse_b = {kNone, 0.5f};
  const auto part = [](Floats& out, Floats& lse) {
    return AttentionSaved{{out.data(), {1, 1, 2, 1}}, {lse.data(), {1, 1, 2}}};
  };
  Floats out(2), lse(2);
  JoinParts(context, {part(a, lse_a), part(b, lse_b)}, part(out, lse));
  EXPECT_EQ(out, (Floats{0.0f, 6.0f}));
  EXPECT_EQ(lse, (Floats{kNone, 0.5f}));
}

}  // namespace
}  // namespace longspan::test
