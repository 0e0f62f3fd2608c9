// Window attention of ranks that share rows, with threads as ranks: side by side they give what one
// call gives for the whole batch.
#include "model/window_halo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bfloat16.h"
#include "base/isa.h"
#include "base/rng.h"
#include "tests/support/thread_world.h"

namespace longspan {
namespace {

using test::OnRanks;

constexpr HeadColumns kColumns{1, 3, 4};  // heads of keys, each of 4 channels
constexpr idx_t kWidth = 12;

// A batch, its window, and what one process makes of it.
struct HaloCase {
  std::string name;
  WindowSpec spec;
  idx_t rows = 1, tokens = 0;
  std::vector<idx_t> starts;
  std::vector<std::uint8_t> roles;

  idx_t n() const { return rows * tokens; }
  WindowTexts Texts() const {
    WindowTexts texts{rows, tokens, starts, {}};
    if (!roles.empty()) texts.roles = {roles.data(), {rows, tokens}};
    return texts;
  }
};

struct HaloResult {
  std::vector<float> out, lse, dqkv;  // (N, C), (N, H), (N, 3C)
  std::vector<float> dqg, dkvg;       // (G, C), (N, 2C)
};

std::vector<float> HaloNumbers(idx_t count, std::uint64_t key) {
  Rng rng(key);
  std::vector<float> numbers(static_cast<std::size_t>(count));
  for (float& number : numbers) number = static_cast<float>(2.0 * rng.Uniform() - 1.0);
  return numbers;
}

// What attention gets, for all tokens.
struct HaloInputs {
  std::vector<float> qkv, dout, qg, kvg;
  idx_t globals;

  explicit HaloInputs(const HaloCase& c)
      : qkv(HaloNumbers(c.n() * 3 * kWidth, 3)),
        dout(HaloNumbers(c.n() * kWidth, 4)),
        globals(std::count(c.roles.begin(), c.roles.end(), kGlobalToken)) {
    qg = HaloNumbers(globals * kWidth, 5);
    kvg = HaloNumbers(c.n() * 2 * kWidth, 6);
  }
};

template <class T>
View<T, 4> HaloHeads(T* data, const HaloCase& c, idx_t part, idx_t parts) {
  const idx_t stride = parts * kWidth;
  return {data + part * kWidth,
          {c.rows, kColumns.heads, c.tokens, kColumns.size},
          {c.tokens * stride, kColumns.size, stride, 1}};
}

template <class T>
View<T, 4> HaloGlobals(T* data, idx_t globals) {
  return {data,
          {1, kColumns.heads, globals, kColumns.size},
          {globals * kWidth, kColumns.size, kWidth, 1}};
}

HaloResult WholeBatch(const HaloCase& c, const HaloInputs& x) {
  Context context(2);
  HaloResult r;
  r.out.resize(x.dout.size());
  r.dqkv.resize(x.qkv.size());
  r.dqg.resize(x.qg.size());
  r.dkvg.resize(x.kvg.size());
  std::vector<float> lse(static_cast<std::size_t>(c.n() * kColumns.heads));
  WindowSpec spec = c.spec;
  spec.starts = c.starts;
  const TokenRoles roles = c.Texts().roles;
  const auto heads = [&](auto& data, idx_t part, idx_t parts) {
    return HaloHeads(data.data(), c, part, parts);
  };
  const Qkv in{heads(x.qkv, 0, 3), heads(x.qkv, 1, 3), heads(x.qkv, 2, 3)};
  const AttentionSaved saved{heads(r.out, 0, 1), {lse.data(), {c.rows, kColumns.heads, c.tokens}}};
  WindowForward(context, spec, in, roles, saved);
  WindowBackward(context, spec, in, roles, saved, heads(x.dout, 0, 1),
                 {heads(r.dqkv, 0, 3), heads(r.dqkv, 1, 3), heads(r.dqkv, 2, 3)});
  if (x.globals > 0) {
    const GlobalQkv global{HaloGlobals(x.qg.data(), x.globals), heads(x.kvg, 0, 2),
                           heads(x.kvg, 1, 2)};
    GlobalForward(context, spec, global, roles, saved);
    GlobalBackward(
        context, spec, global, roles, saved, heads(x.dout, 0, 1),
        {HaloGlobals(r.dqg.data(), x.globals), heads(r.dkvg, 0, 2), heads(r.dkvg, 1, 2)});
  }
  for (idx_t i = 0; i < c.n(); ++i) {
    for (idx_t h = 0; h < kColumns.heads; ++h) {
      const bool global = !c.roles.empty() && roles(i / c.tokens, i % c.tokens) == kGlobalToken;
      r.lse.push_back(global ? 0.0f : saved.lse(i / c.tokens, h, i % c.tokens));
    }
  }
  return r;
}

View<float, 2> HaloRows(std::vector<float>& data, idx_t width) {
  return {data.data(), {std::ssize(data) / width, width}};
}

// The rows of global tokens: this rank's part, into `r` and its own rows of `out`.
void RunHaloGlobals(Context& context, const WindowHalo& halo, const TokenSlab& mine,
                    const HaloInputs& x, const View<float, 2>& out, HaloResult& r) {
  const TokenSlab its = halo.own_globals();
  std::vector<float> qg(x.qg.size(), NAN), saved(x.qg.size()), dqg(x.qg.size(), 0.0f);
  std::vector<float> kvg(x.kvg.begin() + mine.begin * 2 * kWidth,
                         x.kvg.begin() + mine.end * 2 * kWidth);
  std::vector<float> dkvg(kvg.size(), 0.0f);
  std::vector<float> lse(static_cast<std::size_t>(x.globals * kColumns.heads));
  std::copy(x.qg.begin() + its.begin * kWidth, x.qg.begin() + its.end * kWidth,
            qg.begin() + its.begin * kWidth);
  const WindowHalo::Saved<float> all{HaloRows(saved, kWidth),
                                     {lse.data(), {1, kColumns.heads, x.globals}}};
  halo.ForwardGlobals<float>(context, HaloRows(qg, kWidth), HaloRows(kvg, 2 * kWidth), all, out);
  const View<const float, 2> dout(x.dout.data() + mine.begin * kWidth, out.extent);
  halo.BackwardGlobals<float>(context, HaloRows(qg, kWidth), HaloRows(kvg, 2 * kWidth), all, dout,
                              HaloRows(dqg, kWidth), HaloRows(dkvg, 2 * kWidth));
  std::copy(dqg.begin() + its.begin * kWidth, dqg.begin() + its.end * kWidth,
            r.dqg.begin() + its.begin * kWidth);
  std::copy(dkvg.begin(), dkvg.end(), r.dkvg.begin() + mine.begin * 2 * kWidth);
}

// This rank's part, into `r`. Halo rows begin as NaN: what nobody sent, nobody may read.
void RunHalo(Context& context, const WindowHalo& halo, const TokenSlab& mine, const HaloInputs& x,
             HaloResult& r) {
  const idx_t own = mine.size(), rows = halo.rows();
  std::vector<float> qkv(static_cast<std::size_t>(rows * 3 * kWidth), NAN), d(qkv.size(), 0.0f);
  const View<float, 2> all = HaloRows(qkv, 3 * kWidth), dall = HaloRows(d, 3 * kWidth);
  std::vector<int> projected(static_cast<std::size_t>(own), 0);
  const auto project = [&](idx_t first, idx_t count) {
    std::copy_n(x.qkv.data() + (mine.begin + first) * 3 * kWidth, count * 3 * kWidth,
                &halo.Own(all)(first, 0));
    for (idx_t i = first; i < first + count; ++i) ++projected[static_cast<std::size_t>(i)];
  };
  std::vector<float> lse(static_cast<std::size_t>(own * kColumns.heads), NAN);
  const View<float, 2> out(r.out.data() + mine.begin * kWidth, {own, kWidth});
  const WindowHalo::Saved<float> saved{out, {lse.data(), {1, kColumns.heads, own}}};
  halo.Forward<float>(context, all, {project}, saved);
  EXPECT_EQ(projected, std::vector<int>(projected.size(), 1));
  halo.Backward<float>(context, all, saved,
                       View<const float, 2>(x.dout.data() + mine.begin * kWidth, {own, kWidth}),
                       dall);
  if (x.globals > 0) RunHaloGlobals(context, halo, mine, x, out, r);
  const std::vector<std::int32_t> globals = halo.own_global_rows();
  for (idx_t i = 0; i < own; ++i) {
    const bool global = std::find(globals.begin(), globals.end(), i) != globals.end();
    for (idx_t h = 0; h < kColumns.heads; ++h) {
      r.lse[static_cast<std::size_t>((mine.begin + i) * kColumns.heads + h)] =
          global ? 0.0f : saved.lse(0, h, i);
    }
  }
  std::copy_n(&halo.Own(dall)(0, 0), own * 3 * kWidth, r.dqkv.begin() + mine.begin * 3 * kWidth);
}

HaloResult Shared(const HaloCase& c, int ranks, int threads, const HaloInputs& x) {
  HaloResult r;
  r.out.resize(x.dout.size(), NAN);
  r.lse.resize(static_cast<std::size_t>(c.n() * kColumns.heads));
  r.dqkv.resize(x.qkv.size());
  r.dqg.resize(x.qg.size());
  r.dkvg.resize(x.kvg.size());
  OnRanks(ranks, [&](World& world) {
    Context context(threads);
    RowGroup group(world, ranks);
    const auto halo = WindowHalo::Of(&group, c.spec, kColumns, c.Texts());
    ASSERT_TRUE(halo.has_value());
    RunHalo(context, *halo, group.Mine(c.n()), x, r);
  });
  return r;
}

// Within twice what a naive sum of `terms` may err in fp32.
void ExpectNear(const std::vector<float>& is, const std::vector<float>& want, idx_t terms,
                const char* what) {
  float most = 0.0f;
  for (const float value : want) {
    if (std::isfinite(value)) most = std::max(most, std::abs(value));
  }
  ASSERT_EQ(is.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (is[i] == want[i]) continue;  // -inf too
    ASSERT_NEAR(is[i], want[i], 2.0 * static_cast<double>(terms) * 0x1p-24 * most)
        << what << " " << i;
  }
}

std::vector<HaloCase> Cases() {
  std::vector<HaloCase> cases;
  const auto add = [&](const char* name, idx_t rows, idx_t tokens) -> HaloCase& {
    HaloCase c{name, {}, rows, tokens, {}, {}};
    c.spec.left = 5;
    c.spec.right = 4;
    cases.push_back(c);
    return cases.back();
  };
  add("one row", 1, 61);
  add("slabs of almost a halo", 1, 37);
  add("rows that slabs cut", 3, 23).spec.dropout = {0.3f, 5};
  add("windows wider than short texts", 10, 8).spec.left = 100;
  add("causal", 1, 61).spec.causal = true;
  HaloCase& dilated = add("dilated", 2, 53);
  dilated.spec.dilation = {1, 2, 1};
  dilated.spec.left = 3;
  dilated.spec.right = 2;
  add("a window of the token itself", 1, 40).spec.left = 0;
  HaloCase& documents = add("documents", 1, 70);
  documents.starts = {0, 3, 20, 21, 50, 64, 70};
  documents.spec.dropout = {0.3f, 5};
  HaloCase& holes = add("holes", 2, 31);
  for (idx_t t = 0; t < holes.n(); ++t) {
    const bool hidden = t % 7 == 3 || (t > 12 && t < 33);
    holes.roles.push_back(hidden ? kHiddenToken : kLocalToken);
  }
  HaloCase& globals = add("global tokens", 1, 97);
  globals.roles.assign(97, kLocalToken);
  for (const std::size_t t : {0, 1, 96}) globals.roles[t] = kGlobalToken;
  for (const std::size_t t : {2, 30, 31, 95}) globals.roles[t] = kHiddenToken;
  globals.spec.dropout = {0.3f, 5};
  HaloCase& few = add("documents, of which some have global tokens", 1, 90);
  few.starts = {0, 3, 40, 41, 60, 84, 90};
  few.spec.dropout = {0.3f, 5};
  few.roles.assign(90, kLocalToken);
  for (const std::size_t t : {3, 40, 88}) few.roles[t] = kGlobalToken;
  return cases;
}

TEST(WindowHalo, RanksSideBySideGiveTheBatch) {
  for (const HaloCase& c : Cases()) {
    const HaloInputs x(c);
    const HaloResult whole = WholeBatch(c, x);
    for (const int ranks : {2, 3, 4}) {
      SCOPED_TRACE(c.name + ", " + std::to_string(ranks) + " ranks");
      const HaloResult shared = Shared(c, ranks, 1 + ranks % 2, x);
      if (HasFatalFailure()) return;
      ExpectNear(shared.out, whole.out, c.n(), "out");
      ExpectNear(shared.lse, whole.lse, c.n(), "lse");
      ExpectNear(shared.dqkv, whole.dqkv, c.n(), "dqkv");
      ExpectNear(shared.dqg, whole.dqg, c.n(), "dqg");
      ExpectNear(shared.dkvg, whole.dkvg, c.n(), "dkvg");
    }
  }
}

// The bounds notice masks of another key.
TEST(WindowHalo, MasksAreThoseOfTheBatch) {
  HaloCase c = Cases()[2];
  const HaloInputs x(c);
  const HaloResult whole = WholeBatch(c, x);
  c.spec.dropout.key += 1;
  const HaloResult shared = Shared(c, 2, 1, x);
  double most = 0.0;
  for (std::size_t i = 0; i < whole.out.size(); ++i) {
    most = std::max(most, static_cast<double>(std::abs(whole.out[i] - shared.out[i])));
  }
  EXPECT_GT(most, 0.1);
}

TEST(WindowHalo, AnyNumberOfThreadsGivesTheSameBits) {
  const HaloCase c = Cases().back();
  const HaloInputs x(c);
  const HaloResult one = Shared(c, 4, 1, x), three = Shared(c, 4, 3, x);
  EXPECT_EQ(one.out, three.out);
  EXPECT_EQ(one.dqkv, three.dqkv);
  EXPECT_EQ(one.dqg, three.dqg);
  EXPECT_EQ(one.dkvg, three.dkvg);
}

// bf16 of all that travels forwards: what arrives is what was sent.
TEST(WindowHalo, KeysOfBf16GiveWhatOneCallGives) {
  const HaloCase c = Cases()[0];
  std::vector<bfloat16> qkv;
  for (const float value : HaloNumbers(c.n() * 3 * kWidth, 3)) qkv.push_back(ToBfloat16(value));
  Context context(1);
  std::vector<bfloat16> out(static_cast<std::size_t>(c.n() * kWidth)), shared(out.size());
  std::vector<float> lse(static_cast<std::size_t>(c.n() * kColumns.heads));
  const bfloat16* in = qkv.data();
  // Slabs do not run on the tile unit, which rounds weights of softmax to bf16: neither does this.
  const std::optional<Bf16Path> before = ForcedBf16Path();
  const Bf16Path path = ActiveBf16Path();
  if (path == Bf16Path::kTiles || path == Bf16Path::kTwin) ForceBf16Path(Bf16Path::kWiden);
  WindowForward(
      context, c.spec,
      Bf16Qkv{HaloHeads(in, c, 0, 3), HaloHeads(in, c, 1, 3), HaloHeads(in, c, 2, 3)}, {},
      Bf16AttentionSaved{HaloHeads(out.data(), c, 0, 1), {lse.data(), {1, kColumns.heads, c.n()}}});
  ForceBf16Path(before);
  OnRanks(3, [&](World& world) {
    Context own(1);
    RowGroup group(world, 3);
    const auto halo = WindowHalo::Of(&group, c.spec, kColumns, c.Texts());
    const TokenSlab mine = group.Mine(c.n());
    std::vector<bfloat16> x(static_cast<std::size_t>(halo->rows() * 3 * kWidth));
    std::vector<float> its(static_cast<std::size_t>(mine.size() * kColumns.heads));
    const View<bfloat16, 2> all(x.data(), {halo->rows(), 3 * kWidth});
    const auto project = [&](idx_t first, idx_t count) {
      std::copy_n(in + (mine.begin + first) * 3 * kWidth, count * 3 * kWidth,
                  &halo->Own(all)(first, 0));
    };
    halo->Forward<bfloat16>(own, all, {project},
                            {{shared.data() + mine.begin * kWidth, {mine.size(), kWidth}},
                             {its.data(), {1, kColumns.heads, mine.size()}}});
  });
  for (std::size_t i = 0; i < out.size(); ++i) {
    // Sums of another order may round to a neighbour.
    EXPECT_NEAR(ToFloat(out[i]), ToFloat(shared[i]), 0x1p-8 * (std::abs(ToFloat(out[i])) + 0x1p-8));
  }
}

// Halos where they are no more than a slab, whatever widths say; else heads.
TEST(WindowHalo, ReplacesHeadsWhereItIsSmaller) {
  const auto has = [](idx_t rows, idx_t tokens, idx_t width, int ranks) {
    RowGroup group(ranks - 1, ranks);
    WindowSpec spec;
    spec.left = spec.right = width;
    return WindowHalo::Of(&group, spec, kColumns, {rows, tokens, {}, {}}).has_value();
  };
  EXPECT_TRUE(has(1, 64, 32, 2));
  EXPECT_TRUE(has(1, 64, 1000, 2));  // two ranks see no more than each other
  EXPECT_TRUE(has(1, 64, 8, 4));
  EXPECT_FALSE(has(1, 64, 9, 4));    // those in the middle see two neighbours
  EXPECT_TRUE(has(4, 16, 1000, 4));  // slabs of whole texts see nothing of others
  EXPECT_TRUE(has(16, 5, 1000, 4));
  EXPECT_FALSE(has(1, 64, 1000, 4));
  WindowSpec spec;
  spec.left = spec.right = 4;
  EXPECT_FALSE(WindowHalo::Of(nullptr, spec, kColumns, {1, 64, {}, {}}).has_value());
  RowGroup group(1, 2);
  std::vector<std::uint8_t> roles(64, kLocalToken);
  const auto with = [&](std::size_t globals) {  // a row of each of two ranks for every one
    std::fill_n(roles.begin(), globals, kGlobalToken);
    return WindowHalo::Of(&group, spec, kColumns, {1, 64, {}, {roles.data(), {1, 64}}}).has_value();
  };
  EXPECT_TRUE(with(0));
  EXPECT_TRUE(with(14));
  EXPECT_FALSE(with(15));
}

// Borders are on their way before the other tokens are projected, and global tokens with them.
TEST(WindowHalo, WhatOthersSeeIsProjectedFirst) {
  HaloCase c{"", {}, 1, 200, {}, std::vector<std::uint8_t>(200, kLocalToken)};
  c.spec.left = c.spec.right = 8;
  c.roles[0] = kGlobalToken;
  const HaloInputs x(c);
  std::array<std::vector<TokenSlab>, 2> parts;
  std::array<std::size_t, 2> before{};  // parts that were projected when the border was sent
  OnRanks(
      2,
      [&](World& world) {
        Context context(1);
        RowGroup group(world, 2);
        const auto halo = WindowHalo::Of(&group, c.spec, kColumns, c.Texts());
        ASSERT_TRUE(halo.has_value());
        std::vector<float> qkv(static_cast<std::size_t>(halo->rows() * 3 * kWidth), 0.1f);
        std::vector<float> out(qkv.size()), lse(out.size());
        auto& own = parts[static_cast<std::size_t>(world.rank())];
        const auto project = [&](idx_t first, idx_t count) {
          own.push_back({first, first + count});
        };
        halo->Forward<float>(
            context, HaloRows(qkv, 3 * kWidth), {project},
            {{out.data(), {halo->own(), kWidth}}, {lse.data(), {1, kColumns.heads, halo->own()}}});
      },
      [&](int rank, int tag, std::size_t) {
        const auto r = static_cast<std::size_t>(rank);
        if (tag == RowTag(ExchangeKind::kHalos)) before[r] = parts[r].size();
      });
  using Parts = std::vector<std::pair<idx_t, idx_t>>;
  const auto pairs = [&](std::size_t rank) {
    Parts all;
    for (const TokenSlab& part : parts[rank]) all.emplace_back(part.begin, part.end);
    return all;
  };
  EXPECT_EQ(pairs(0), (Parts{{0, 1}, {92, 100}, {1, 92}}));
  EXPECT_EQ(before[0], 2u);
  EXPECT_EQ(pairs(1), (Parts{{0, 8}, {8, 100}}));
  EXPECT_EQ(before[1], 1u);
}

// Two arrays of the window's width, whatever the length; the rank in the middle has two neighbours.
TEST(WindowHalo, SendsTheWidthOfTheWindow) {
  for (const idx_t tokens : {100, 1000}) {
    RowGroup group(3, 4);
    Context context = Context::Rehearsal(1);
    WindowSpec spec;
    spec.left = spec.right = 8;
    const auto halo = WindowHalo::Of(&group, spec, kColumns, {1, tokens, {}, {}});
    ASSERT_TRUE(halo.has_value());
    Arena::Frame frame(context.arena(), 1 << 20);
    const auto take = [&](idx_t rows, idx_t width) {
      return View<float, 2>(frame.Take<float>(rows * width), {rows, width});
    };
    const View<float, 2> qkv = take(halo->rows(), 3 * kWidth), dqkv = take(qkv.extent[0], 36);
    const View<float, 2> out = take(halo->own(), kWidth);
    const WindowHalo::Saved<float> saved{
        out, {frame.Take<float>(out.size()), {1, kColumns.heads, halo->own()}}};
    constexpr double kFlop = 1e6;
    halo->Forward<float>(context, qkv, {[](idx_t, idx_t) {}, kFlop}, saved);
    constexpr std::uint64_t kOneWay = 2 * 8 * 2 * kWidth * sizeof(float);
    EXPECT_EQ(group.bytes_sent(), kOneWay);
    EXPECT_EQ(group.bytes_beside(), kOneWay);
    // The other tokens' projections: the last rank's neighbour sees 8 of them.
    EXPECT_GT(group.flop_beside(), kFlop * static_cast<double>(halo->own() - 8));
    halo->Backward<float>(context, qkv, saved, out, dqkv);
    EXPECT_EQ(group.bytes_sent(), 2 * kOneWay);
  }
}

}  // namespace
}  // namespace longspan
