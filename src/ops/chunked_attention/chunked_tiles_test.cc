// Chunked attention on the tile unit's twin (and on the unit, where there is one), beyond what the
// tests of bf16 ask of every path: windows around the ends of a text, keys that a window meets
// twice, queries that see no key, dropout, NaN, tasks, slabs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "longspan/attention.h"
#include "ops/chunked_attention/chunked_amx.h"
#include "ops/chunked_attention/chunked_slab.h"
#include "tests/support/tiles.h"

namespace longspan::test {
namespace {

using Mask = std::vector<std::uint8_t>;

void RunBoth(const ChunkedSpec& spec, const Mask& mask, Bf16Tensors& x, int threads = 2) {
  Context context(threads);
  const KeyMask keys = mask.empty() ? KeyMask() : KeyMask(mask.data(), {x.shape[0], x.shape[2]});
  ChunkedForward(context, spec, x.Qkv(), keys, x.Saved());
  ChunkedBackward(context, spec, x.Qkv(), keys, x.Saved(), x.Dout(), x.Gradients());
}

ChunkedSpec Windows(idx_t chunk, idx_t before, idx_t after, bool causal = false) {
  ChunkedSpec spec;
  spec.chunk = chunk;
  spec.before = before;
  spec.after = after;
  spec.causal = causal;
  return spec;
}

void CheckTiles(const ChunkedSpec& spec, idx_t T, idx_t D, const Mask& mask = {}, idx_t H = 1) {
  SCOPED_TRACE(testing::Message() << "T " << T << " D " << D << " chunk " << spec.chunk
                                  << " before " << spec.before << " after " << spec.after
                                  << (spec.causal ? " causal" : ""));
  ExpectTilesMatchWidened(Bf16Tensors(Bf16Problem{1, H, T, D, {}}),
                          [&](Bf16Tensors& x) { RunBoth(spec, mask, x); });
}

TEST(ChunkedAmx, WindowsGoAroundTheEndsOfTheText) {
  for (const bool causal : {false, true}) {
    for (const idx_t chunk : {32, 13, 40}) {
      for (const idx_t last : {idx_t{0}, chunk / 2}) {  // tokens of a short last chunk
        const idx_t T = 4 * chunk + last;
        CheckTiles(Windows(chunk, 1, 1, causal), T, 32);
        CheckTiles(Windows(chunk, 0, 2, causal), T, 32);
        CheckTiles(Windows(chunk, 2, 0, causal), T, 32);
      }
    }
  }
}

TEST(ChunkedAmx, KeysThatAWindowMeetsTwiceCountTwice) {
  for (const bool causal : {false, true}) {
    CheckTiles(Windows(16, 1, 1, causal), 30, 16);
    CheckTiles(Windows(16, 2, 2, causal), 48, 16);
    CheckTiles(Windows(20, 2, 1, causal), 50, 20);
  }
}

TEST(ChunkedAmx, RowsWithFewerChunksThanAWindowReachesTakeTheOtherKernels) {
  const Bf16Problem p{1, 1, 30, 16, {}};
  OnTiles([&] {
    Bf16Tensors x(p);
    EXPECT_FALSE(RunsOnTiles(MakeChunkedPlan(Windows(16, 2, 0), nullptr, x.Qkv().q)));
    EXPECT_TRUE(RunsOnTiles(MakeChunkedPlan(Windows(16, 1, 1), nullptr, x.Qkv().q)));
    EXPECT_TRUE(RunsOnTiles(MakeChunkedPlan(Windows(64, 9, 9), nullptr, x.Qkv().q)));
  });
  CheckTiles(Windows(16, 2, 0), 30, 16);
}

TEST(ChunkedAmx, HeadSizes) {
  for (const idx_t D : {1, 31, 64, 96, 128, 256}) CheckTiles(Windows(32, 1, 0, true), 80, D);
}

TEST(ChunkedAmx, QueriesThatSeeNoKeyWeighTheirWindow) {
  for (const bool causal : {false, true}) {
    for (const idx_t chunk : {32, 13}) {
      for (const auto& shown :
           {+[](idx_t t) { return t >= 50; }, +[](idx_t t) { return t < 20; },
            +[](idx_t t) { return t % 29 > 20; }, +[](idx_t) { return false; }}) {
        Mask mask;
        for (idx_t t = 0; t < 120; ++t) mask.push_back(shown(t) ? 1 : 0);
        const ChunkedSpec spec = Windows(chunk, 1, 1, causal);
        const bool none = std::find(mask.begin(), mask.end(), 1) == mask.end();
        ExpectTilesMatchWidened(
            Bf16Tensors(Bf16Problem{1, 1, 120, 16, {}}),
            [&](Bf16Tensors& x) { RunBoth(spec, mask, x); }, !none);
      }
    }
  }
}

TEST(ChunkedAmx, DropoutDropsWhatTheOtherPathsDrop) {
  for (const idx_t chunk : {32, 13}) {
    for (const idx_t D : {32, 64}) {
      ChunkedSpec spec = Windows(chunk, 1, 1);
      spec.dropout = {0.3f, 77, 1, 5};  // two of five heads
      CheckTiles(spec, 110, D, {}, 2);
      spec.causal = true;
      Mask mask(110, 1);
      std::fill(mask.begin(), mask.begin() + 40, std::uint8_t{0});  // some queries see no key
      CheckTiles(spec, 110, D, mask, 2);
    }
  }
}

TEST(ChunkedAmx, WideScores) {
  Bf16Tensors given(Bf16Problem{1, 1, 100, 64, {}});
  for (bfloat16& q : given.q) q = ToBfloat16(ToFloat(q) * 64.0f);
  ExpectTilesMatchWidened(
      given, [](Bf16Tensors& x) { RunBoth(Windows(32, 1, 0, true), {}, x); }, false);
}

TEST(ChunkedAmx, AHiddenTokenMayHoldAnythingAndAVisibleNaNIsNotLost) {
  const Bf16Problem p{1, 1, 160, 32, {}};
  const idx_t odd = 70;
  for (const std::uint8_t shown : {0, 1}) {
    Mask mask(160, 1);
    mask[odd] = shown;
    for (const bool key : {false, true}) {
      OnTiles([&] {
        Bf16Tensors x(p);
        (key ? x.k : x.v)[odd * p.D + 5] = bfloat16{0x7fc0};
        RunBoth(Windows(32, 1, 0), mask, x);
        const auto nans = [&](idx_t t) {
          const auto row = x.out.begin() + t * p.D;
          return std::any_of(row, row + p.D, [](bfloat16 v) { return std::isnan(ToFloat(v)); });
        };
        EXPECT_EQ(nans(100), shown != 0);  // of the next chunk
        EXPECT_FALSE(nans(10) || nans(130));
      });
    }
  }
}

// Several runs of queries in the backward, whose keys overlap, around the circle too.
TEST(ChunkedAmx, TasksShareNoGradientAndThreadsChangeNoBit) {
  if (ActiveIsa() < Isa::kAvx2) GTEST_SKIP() << "takes long without vectors";
  const Bf16Problem p{1, 1, 4100, 8, {}};
  for (const ChunkedSpec& spec : {Windows(16, 1, 1), Windows(50, 2, 1, true)}) {
    const Bf16Tensors given(p);
    OnTiles([&] {
      const ChunkedPlan plan = MakeChunkedPlan(spec, nullptr, given.Qkv().q);
      EXPECT_GE(PlanAmxChunkedRuns(plan, 256).runs, 3);
    });
    ExpectTilesMatchWidened(given, [&](Bf16Tensors& x) { RunBoth(spec, {}, x); });
    OnTiles([&] {
      Bf16Tensors one = given, five = given;
      RunBoth(spec, {}, one, 1);
      RunBoth(spec, {}, five, 5);
      EXPECT_SAME_BITS(one.Result().out, five.Result().out);
      EXPECT_SAME_BITS(one.dq, five.dq);
      EXPECT_SAME_BITS(one.dk, five.dk);
      EXPECT_SAME_BITS(one.dv, five.dv);
    });
  }
}

// Windows of more keys than a thread packs at once: these pass by, for runs of queries.
TEST(ChunkedAmx, WideWindowsPassBy) {
  if (ActiveIsa() < Isa::kAvx2) GTEST_SKIP() << "takes long without vectors";
  CheckTiles(Windows(500, 1, 0, true), 1300, 200);
}

TEST(ChunkedAmx, TheUnitAndItsTwinGiveTheSameBits) {
  if (ActiveIsa() < Isa::kAmx || !PermitTiles()) GTEST_SKIP() << "this machine has no tile unit";
  const std::optional<Bf16Path> before = ForcedBf16Path();
  for (const idx_t D : {32, 64, 128}) {
    for (const idx_t chunk : {64, 13}) {
      ChunkedSpec spec = Windows(chunk, 1, 1, true);
      spec.dropout = {0.1f, 3};
      Bf16Tensors unit(Bf16Problem{1, 2, 300, D, {}}), twin = unit;
      ForceBf16Path(Bf16Path::kTiles);
      RunBoth(spec, {}, unit);
      ForceBf16Path(Bf16Path::kTwin);
      RunBoth(spec, {}, twin);
      EXPECT_SAME_BITS(unit.Result().out, twin.Result().out);
      EXPECT_SAME_BITS(unit.dq, twin.dq);
      EXPECT_SAME_BITS(unit.dk, twin.dk);
      EXPECT_SAME_BITS(unit.dv, twin.dv);
    }
  }
  ForceBf16Path(before);
}

// One key too many for some queries moves every part beyond the rule.
TEST(ChunkedAmx, APlantedFaultIsFound) {
  const auto visible = [](idx_t, idx_t i, idx_t j) { return i / 8 - j / 8 <= 1 && j <= i; };
  const Bf16Problem p{1, 1, 96, 64, visible};
  const Bf16Tensors given(p);
  const auto oracle = Bf16Oracle(p, given);
  const auto tolerance = Bf16Tolerance(p);
  OnTiles([&] {
    for (const bool wrong : {false, true}) {
      Bf16Tensors x = given;
      RunBoth(wrong ? Windows(9, 1, 0, true) : Windows(8, 1, 0, true), {}, x);
      const Bf16Result y = x.Result();
      const std::vector<float>* parts[] = {&y.out, &y.dq, &y.dk, &y.dv};
      for (std::size_t part = 0; part < 4; ++part) {
        const Tolerance bound{(wrong ? 10 : 1) * tolerance[part].max_abs,
                              (wrong ? 10 : 1) * tolerance[part].rel_l2};
        EXPECT_EQ(Compare(std::span<const float>(*parts[part]), oracle[part], bound).ok, !wrong);
      }
    }
  });
}

// In a wave no key belongs to two runs.
TEST(ChunkedAmx, RunsOfAWaveAreApart) {
  for (const idx_t chunk : {1, 64, 100, 700}) {
    for (const idx_t before : {0, 1, 5}) {
      for (const idx_t after : {0, 2}) {
        for (const idx_t T : {900, 4096, 5000, 20011, 65536}) {
          const ChunkedSpec spec = Windows(chunk, before, after);
          InView q;
          q.extent = {1, 1, T, 64};
          const ChunkedPlan plan = MakeChunkedPlan(spec, nullptr, q);
          if (before >= plan.chunks || after >= plan.chunks) continue;
          const AmxChunkedRuns runs = PlanAmxChunkedRuns(plan, 256);
          idx_t seen = 0;
          for (idx_t wave = 0; wave < runs.Waves(); ++wave) {
            std::vector<int> owner(static_cast<std::size_t>(plan.chunks), -1);
            for (idx_t i = 0; i < runs.RunsOfWave(wave); ++i, ++seen) {
              const idx_t r = runs.RunOf(wave, i);
              const idx_t first = runs.Begin(r) / plan.chunk;
              const idx_t last = (runs.Begin(r + 1) - 1) / plan.chunk;
              for (idx_t c = first - plan.before; c <= last + plan.after; ++c) {
                int& who = owner[static_cast<std::size_t>((c + plan.chunks) % plan.chunks)];
                ASSERT_TRUE(who < 0 || who == r) << "T " << T << " chunk " << chunk;
                who = static_cast<int>(r);
              }
            }
          }
          EXPECT_EQ(seen, runs.runs);
        }
      }
    }
  }
}

// The first two chunks of a row of five, the last one short, and their halo.
TEST(ChunkedAmx, ASlabGivesWhatTheRowGives) {
  const idx_t T = 150, D = 32, L = 32;
  for (const bool causal : {false, true}) {
    const ChunkedSpec spec = Windows(L, 1, 1, causal);
    const ChunkedSlab slab{T, 0, 2};
    const Bf16Problem part{1, 1, slab.Queries(spec), D, {}};
    OnTiles([&] {
      Bf16Tensors row(Bf16Problem{1, 1, T, D, {}});
      RunBoth(spec, {}, row);
      Context context(2);
      const auto rows = [&](const std::vector<bfloat16>& from, idx_t first, idx_t chunks) {
        std::vector<bfloat16> to;
        for (idx_t c = first; c < first + chunks; ++c) {
          for (idx_t t = (c + 5) % 5 * L; t < ((c + 5) % 5 + 1) * L; ++t) {
            for (idx_t d = 0; d < D; ++d) {
              // Nobody reads behind the end of the short chunk.
              to.push_back(t < T ? from[static_cast<std::size_t>(t * D + d)] : bfloat16{0x7fc0});
            }
          }
        }
        return to;
      };
      Bf16Tensors x(part);
      x.q = rows(row.q, 0, 2);
      const std::vector<bfloat16> k = rows(row.k, -1, 4), v = rows(row.v, -1, 4);
      const std::array<idx_t, 4> keys = {1, 1, slab.Keys(spec), D};
      const Bf16Qkv qkv{x.In(x.q), {k.data(), keys}, {v.data(), keys}};
      ChunkedForward(context, spec, slab, qkv, {}, x.Saved());
      for (std::size_t i = 0; i < x.out.size(); ++i) ASSERT_EQ(x.out[i].bits, row.out[i].bits);
      // Gradients of one row of queries reach the keys that the row's do, and no others.
      x.dout.assign(x.dout.size(), bfloat16{0});
      std::copy_n(row.dout.begin(), L * D, x.dout.begin());
      std::vector<float> dk(k.size()), dv(k.size());
      ChunkedBackward(context, spec, slab, qkv, {}, x.Saved(), x.Dout(),
                      {{x.dq.data(), x.shape}, {dk.data(), keys}, {dv.data(), keys}});
      Bf16Tensors alone(Bf16Problem{1, 1, T, D, {}});
      std::fill(alone.dout.begin() + L * D, alone.dout.end(), bfloat16{0});
      RunBoth(spec, {}, alone);
      for (idx_t t = 0; t < slab.Keys(spec); ++t) {
        const idx_t c = (t / L + 4) % 5, token = c * L + t % L;
        for (idx_t d = 0; d < D; ++d) {
          const auto at = static_cast<std::size_t>(t * D + d);
          const auto from = static_cast<std::size_t>(token * D + d);
          ASSERT_NEAR(dv[at], token < T ? alone.dv[from] : 0.0f, 1e-5);
          ASSERT_NEAR(dk[at], token < T ? alone.dk[from] : 0.0f, 1e-5);
        }
      }
    });
  }
}

}  // namespace
}  // namespace longspan::test
