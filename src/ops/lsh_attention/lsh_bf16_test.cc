// LSH attention on bf16 inputs, on every path that bf16 products can take, against double and
// against attention in bf16 as frameworks write it.
#include <algorithm>
#include <optional>

#include "ops/lsh_attention/lsh_attention_test.h"
#include "tests/support/bf16_shared.h"
#include "tests/support/tiles.h"

namespace longspan {
namespace {

using Bf16Numbers = std::vector<bfloat16>;

Bf16Numbers RandomBf16(std::uint64_t seed, idx_t size, float scale = 1.0f) {
  Bf16Numbers rounded;
  for (const float x : RandomNormal(seed, size)) rounded.push_back(ToBfloat16(scale * x));
  return rounded;
}

struct HalfInputs {
  explicit HalfInputs(const Case& c)
      : qk(RandomBf16(c.seed, c.size(), c.scale)),
        v(RandomBf16(c.seed + 2000, c.size())),
        dout(RandomBf16(c.seed + 3000, c.size())) {}
  Bf16Numbers qk, v, dout;
};

template <class T>
using Parts = test::SharedParts<T>;

// How often query i sees key j of one head in all rounds, (T, T).
std::vector<idx_t> CountSightings(const Case& c, const std::vector<std::int32_t>& order,
                                  idx_t head) {
  const idx_t T = c.shape.T, rounds = ref::LshRounds(c.spec, T);
  std::vector<idx_t> count(static_cast<std::size_t>(T * T));
  for (idx_t r = 0; r < rounds; ++r) {
    for (idx_t i = 0; i < T; ++i) {
      const idx_t query = order[static_cast<std::size_t>((head * rounds + r) * T + i)];
      for (const auto& e : ref::LshWindow(c.spec, c.shape, order.data() + head * rounds * T, c.mask,
                                          head / c.shape.H, r, i)) {
        const bool shown =
            c.mask.empty() || c.mask[static_cast<std::size_t>(head / c.shape.H * T + e.key)] != 0;
        const bool seen = shown && (!c.spec.causal || e.key <= query);
        if (seen || e.key == query) ++count[static_cast<std::size_t>(query * T + e.key)];
      }
    }
  }
  return count;
}

template <class T, class Round>
Parts<T> Dense(const Case& c, const Round& round) {
  const HalfInputs x(c);
  const auto order = OrderOf(c);
  Parts<T> y;
  for (idx_t head = 0; head < c.shape.B * c.shape.H; ++head) {
    const idx_t at = head * c.shape.T * c.shape.D;
    const auto count = CountSightings(c, order, head);
    test::DenseShared<T, Round>(c.shape.T, c.shape.D, x.qk.data() + at, x.v.data() + at,
                                x.dout.data() + at, count, round)
        .Append(y);
  }
  return y;
}

Parts<float> RunHalves(Context& context, const Case& c, const HalfInputs& x) {
  const std::array<idx_t, 4> shape = {c.shape.B, c.shape.H, c.shape.T, c.shape.D};
  const std::array<idx_t, 3> rows = {c.shape.B, c.shape.H, c.shape.T};
  const auto in = [&](const Bf16Numbers& a) { return View<const bfloat16, 4>(a.data(), shape); };
  Bf16Numbers out(x.qk.size());
  std::vector<float> max(static_cast<std::size_t>(c.rows())), sum(max.size());
  Parts<float> y{{}, std::vector<float>(x.qk.size()), std::vector<float>(x.qk.size())};
  const Bf16SharedQkv qkv{in(x.qk), in(x.v)};
  const Bf16SharedSaved saved{{out.data(), shape}, {max.data(), rows}, {sum.data(), rows}};
  KeyMask mask;
  if (!c.mask.empty()) mask = {c.mask.data(), {c.shape.B, c.shape.T}};
  const View<const std::uint16_t, 4> buckets(c.buckets.data(),
                                             {c.shape.B, c.shape.H, c.spec.rounds, c.shape.T});
  LshForward(context, c.spec, qkv, mask, buckets, saved);
  LshBackward(context, c.spec, qkv, mask, buckets, saved, in(x.dout),
              {{y.dqk.data(), shape}, {y.dv.data(), shape}});
  for (const bfloat16 value : out) y.out.push_back(ToFloat(value));
  y.logs = LogSums(max, sum);
  return y;
}
Parts<float> RunHalves(Context& context, const Case& c) {
  return RunHalves(context, c, HalfInputs(c));
}

// In double: out, dqk, dv.
std::vector<std::vector<double>> ExactHalves(const Case& c) {
  return test::RememberLists(c.KeyOf("lsh bf16"), [&] {
    const auto y = Dense<double>(c, [](double value) { return value; });
    return std::vector<std::vector<double>>{y.out, y.dqk, y.dv};
  });
}

// Of out, dqk, dv.
std::vector<test::Tolerance> HalvesTolerances(const Case& c) {
  return test::RememberTolerances(c.KeyOf("lsh bf16 tolerance"), [&] {
    std::vector<test::Tolerance> most(3);
    Case input = c;
    for (int i = 0; i < (c.size() > 5000 ? 1 : 6); ++i, ++input.seed) {
      const auto naive =
          Dense<float>(input, [](float value) { return ToFloat(ToBfloat16(value)); });
      const auto oracle = ExactHalves(input);
      test::RaiseTolerance(naive.out, oracle[0], 2, &most[0]);
      test::RaiseTolerance(naive.dqk, oracle[1], 3, &most[1]);
      test::RaiseTolerance(naive.dv, oracle[2], 3, &most[2]);
    }
    return most;
  });
}

void CheckHalves(const Case& c) {
  SCOPED_TRACE(c.Name());
  const std::vector<test::Tolerance> bounds = HalvesTolerances(c);
  const std::vector<std::vector<double>> oracle = ExactHalves(c);
  const auto close = [](const char* what, const std::vector<float>& actual,
                        const std::vector<double>& wanted, const test::Tolerance& tolerance) {
    const auto d = test::Compare(std::span<const float>(actual), wanted, tolerance);
    EXPECT_TRUE(d.ok) << what << ": " << d.reason;
  };
  test::ForEachBf16Path([&] {
    Context context(1);
    const auto y = RunHalves(context, c);
    close("out", y.out, oracle[0], bounds[0]);
    close("dqk", y.dqk, oracle[1], bounds[1]);
    close("dv", y.dv, oracle[2], bounds[2]);
    for (const int threads : {2, 3, 7, 8}) {
      Context more(threads);
      const auto other = RunHalves(more, c);
      EXPECT_SAME_BITS(other.out, y.out);
      EXPECT_SAME_BITS(other.dqk, y.dqk);
      EXPECT_SAME_BITS(other.dv, y.dv);
    }
  });
}

TEST(LshBf16, LengthsRoundsAndHeadSizes) {
  for (const bool causal : {false, true}) {
    for (const idx_t rounds : {1, 3}) {
      for (const idx_t T : {31, 64, 130, 257}) {
        CheckHalves(MakeCase(T, 32, 1, 0, rounds, causal, 64, 1, 1));
      }
      CheckHalves(MakeCase(95, 13, 2, 1, rounds, causal, 20));
      CheckHalves(MakeCase(60, 7, 1, 1, rounds, causal, 7));
    }
    CheckHalves(MakeCase(200, 40, 1, 0, 2, causal, 128, 1, 1));
  }
}

TEST(LshBf16, MasksAndSeveralRuns) {
  for (const Padding padding : {Padding::kLeft, Padding::kRight, Padding::kHoles}) {
    Case c = MakeCase(131, 16, 1, 0, 2, padding == Padding::kRight, 16, 2, 2);
    c.mask = MakeMask(c, padding);
    c.DrawBuckets();
    CheckHalves(c);
  }
}

// The same numbers as floats.
Inputs Floats(const Case& c, const HalfInputs& x) {
  Inputs wide(c);
  const auto widen = [](const Bf16Numbers& from, std::vector<float>& to) {
    std::transform(from.begin(), from.end(), to.begin(), [](bfloat16 v) { return ToFloat(v); });
  };
  widen(x.qk, wide.qk);
  widen(x.v, wide.v);
  widen(x.dout, wide.dout);
  return wide;
}

// Several tasks of one head, with the halo on the side: the same as fp32 on the same numbers.
TEST(LshBf16, RunsOfOneHeadAgreeWithFloats) {
  const Case c = MakeCase(4205, 16, 1, 1, 2, true, 16, 1, 1);
  Context context(2);
  const auto floats = RunKernel(context, c, Floats(c, HalfInputs(c)));
  test::ForEachBf16Path([&] {
    const auto y = RunHalves(context, c);
    for (std::size_t i = 0; i < y.out.size(); ++i) {
      ASSERT_NEAR(y.out[i], floats.out[i], 0.02f) << i;
      ASSERT_NEAR(y.dqk[i], floats.dqk[i], 0.05f) << i;
      ASSERT_NEAR(y.dv[i], floats.dv[i], 0.05f) << i;
    }
  });
}

// Every path against the reference in double: a key too many or too few, or a weight that one path
// alone drops, is an error of 0.1 in some row.
void CheckAgainstDouble(const Case& c) {
  SCOPED_TRACE(c.Name());
  const auto oracle = RunReference<double>(c, Floats(c, HalfInputs(c)));
  const auto logs = LogSums(oracle.max, oracle.sum);
  test::ForEachBf16Path([&] {
    Context context(2);
    const auto y = RunHalves(context, c);
    for (std::size_t i = 0; i < y.out.size(); ++i) {
      ASSERT_NEAR(static_cast<double>(y.out[i]), oracle.out[i], 0.04) << i;
      ASSERT_NEAR(static_cast<double>(y.dqk[i]), oracle.dqk[i], 0.06) << i;
      ASSERT_NEAR(static_cast<double>(y.dv[i]), oracle.dv[i], 0.06) << i;
    }
    for (std::size_t i = 0; i < logs.size(); ++i) {
      ASSERT_NEAR(static_cast<double>(y.logs[i]), logs[i], 0.01) << i;
    }
  });
}

TEST(LshBf16, DropoutDrawsTheSameFactorsAsFloats) {
  Case c = MakeCase(90, 16, 1, 0, 2, true, 16, 1, 2);
  c.spec.dropout = {0.5f, 77};
  CheckAgainstDouble(c);
}

TEST(LshBf16, TokensThatSeeOnlyThemselves) {
  for (const float dropout : {0.0f, 0.4f}) {
    for (const Padding padding : {Padding::kHoles, Padding::kLeft, Padding::kEverything}) {
      Case c = MakeCase(70, 16, 1, 0, 3, true, 16, 1, 2);
      c.mask = MakeMask(c, padding);
      c.spec.dropout = {dropout, 5};
      c.DrawBuckets();
      CheckAgainstDouble(c);
    }
  }
}

TEST(LshBf16, LongQueriesNeedMaximaAndRoundsMayDifferInThem) {
  for (const float scale : {5.0f, 7.5f, 9.0f, 40.0f}) {  // |x| around 30 and 40, and far above
    Case c = MakeCase(90, 16, 1, 1, 3, false, 16, 1, 1);
    c.scale = scale;
    CheckAgainstDouble(c);
  }
}

TEST(LshBf16, WindowsAroundTheCircleAndWindowsOfAllOfIt) {
  for (const bool causal : {false, true}) {
    CheckAgainstDouble(MakeCase(40, 16, 2, 2, 1, causal, 16, 1, 1));  // keys are met twice
    CheckAgainstDouble(MakeCase(40, 16, 3, 2, 2, causal, 16, 1, 1));
    CheckAgainstDouble(MakeCase(40, 16, 4, 0, 1, causal, 16, 1, 1));  // reaches beyond all chunks
    CheckAgainstDouble(MakeCase(50, 32, 1, 1, 2, causal, 16, 1, 1));
    CheckAgainstDouble(MakeCase(50, 64, 1, 0, 2, causal, 16, 1, 1));  // nothing is hashed
  }
}

TEST(LshBf16, LargeHeads) {
  for (const idx_t D : {96, 256, 260}) {
    CheckAgainstDouble(MakeCase(70, 32, 1, 0, 2, true, D, 1, 1));
  }
}

// Longer lists of keys than a thread packs at once: in several runs, and passing by.
TEST(LshBf16, ManyKeysOnTiles) {
  if (ActiveIsa() < Isa::kAvx2) GTEST_SKIP() << "takes long without vectors";
  for (const Case& c : {MakeCase(1700, 32, 1, 0, 1, true, 128, 1, 1),
                        MakeCase(800, 800, 1, 0, 1, true, 250, 1, 1)}) {
    SCOPED_TRACE(c.Name());
    Context context(2);
    const std::optional<Bf16Path> before = ForcedBf16Path();
    ForceBf16Path(Bf16Path::kWiden);
    const auto wide = RunHalves(context, c);
    ForceBf16Path(before);
    test::OnTiles([&] {
      const auto y = RunHalves(context, c);
      const test::Tolerance tolerance{0.2, 1e-2};
      EXPECT_MATCHES(y.out, wide.out, tolerance);
      EXPECT_MATCHES(y.dqk, wide.dqk, tolerance);
      EXPECT_MATCHES(y.dv, wide.dv, tolerance);
    });
  }
}

TEST(LshBf16, TheUnitAndItsTwinGiveTheSameBits) {
  if (ActiveIsa() < Isa::kAmx || !PermitTiles()) GTEST_SKIP() << "this machine has no tile unit";
  const std::optional<Bf16Path> before = ForcedBf16Path();
  for (const idx_t D : {32, 64, 128}) {
    Case c = MakeCase(300, 32, 1, 0, 2, true, D, 1, 2);
    c.spec.dropout = {0.1f, 3};
    Context context(2);
    ForceBf16Path(Bf16Path::kTiles);
    const auto unit = RunHalves(context, c);
    ForceBf16Path(Bf16Path::kTwin);
    const auto twin = RunHalves(context, c);
    EXPECT_SAME_BITS(unit.out, twin.out);
    EXPECT_SAME_BITS(unit.dqk, twin.dqk);
    EXPECT_SAME_BITS(unit.dv, twin.dv);
  }
  ForceBf16Path(before);
}

TEST(LshBf16, TilesTakeWindowsThatHoldEachChunkOnce) {
  const auto on_tiles = [](const Case& c) {
    InView qk;
    qk.bf16 = true;
    qk.extent = {c.shape.B, c.shape.H, c.shape.T, c.shape.D};
    return MakeLshPlan(c.spec, qk).tiles;
  };
  test::OnTiles([&] {
    EXPECT_TRUE(on_tiles(MakeCase(40, 16, 2, 2, 1, true, 16)));
    EXPECT_TRUE(on_tiles(MakeCase(40, 64, 2, 2, 1, true, 256)));
    EXPECT_FALSE(on_tiles(MakeCase(40, 16, 3, 0, 1, true, 16)));
    EXPECT_FALSE(on_tiles(MakeCase(40, 16, 1, 0, 1, true, 257)));
  });
}

TEST(LshBf16, AVisibleNaNIsNotLostAndAHiddenOneHurtsNobody) {
  for (const std::uint8_t shown : {0, 1}) {
    Case c = MakeCase(96, 32, 1, 0, 1, false, 16, 1, 1);
    c.mask.assign(96, 1);
    c.mask[40] = shown;
    for (std::size_t t = 0; t < 96; ++t) c.buckets[t] = static_cast<std::uint16_t>(t / 32);
    if (shown == 0) c.buckets[40] = 4;  // the last token of the order
    HalfInputs x(c);
    x.v[40 * 16 + 3] = bfloat16{0x7fc0};
    test::OnTiles([&] {
      Context context(2);
      const auto y = RunHalves(context, c, x);
      const auto nan = [&](idx_t t) {
        return std::isnan(y.out[static_cast<std::size_t>(t * 16 + 3)]);
      };
      EXPECT_EQ(nan(50), shown != 0);
      EXPECT_EQ(nan(70), shown != 0);
    });
  }
}

TEST(LshBf16, HashIsThatOfTheSameFloats) {
  const Case c = MakeCase(75, 16, 1, 0, 3, false, 20, 1, 2);
  const HalfInputs x(c);
  LshSpec spec = c.spec;
  spec.buckets = {6, 4};
  const idx_t columns = spec.RotationColumns();
  const auto rotations = RandomNormal(5, c.shape.H * c.shape.D * spec.rounds * columns);
  const std::array<idx_t, 4> shape = {1, c.shape.H, c.shape.T, c.shape.D};
  std::vector<float> wide;
  for (const bfloat16 value : x.qk) wide.push_back(ToFloat(value));
  std::vector<std::uint16_t> of_halves(static_cast<std::size_t>(c.rows() * spec.rounds));
  auto of_floats = of_halves;
  const auto view = [&](std::vector<std::uint16_t>& buckets) {
    return LshBuckets(buckets.data(), {1, c.shape.H, spec.rounds, c.shape.T});
  };
  const LshRotations drawn(rotations.data(), {c.shape.H, c.shape.D, spec.rounds, columns});
  Context context(2);
  LshHash(context, spec, View<const bfloat16, 4>(x.qk.data(), shape), {}, drawn, view(of_halves));
  LshHash(context, spec, View<const float, 4>(wide.data(), shape), {}, drawn, view(of_floats));
  EXPECT_EQ(of_halves, of_floats);
}

}  // namespace
}  // namespace longspan
