// The integer half of LSH attention, compared exactly: numbers of buckets, rotations, hash, sort.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "longspan/attention.h"
#include "longspan/error.h"
#include "ops/lsh_attention/lsh_attention.h"
#include "tests/support/files.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::RandomNormal;
using Ids = std::vector<std::uint16_t>;
using Order = std::vector<std::int32_t>;

// ---- number of buckets --------------------------------------------------------------------------

TEST(LshBuckets, FollowTheOriginalsRule) {
  using List = std::vector<idx_t>;
  EXPECT_EQ(LshBucketFactors(128, 64, 4096), List({4}));
  EXPECT_EQ(LshBucketFactors(1024, 64, 4096), List({32}));
  EXPECT_EQ(LshBucketFactors(4096, 64, 4096), List({128}));
  EXPECT_EQ(LshBucketFactors(8192, 64, 8192), List({16, 16}));
  EXPECT_EQ(LshBucketFactors(65536, 64, 65536), List({32, 64}));
  EXPECT_EQ(LshBucketFactors(524288, 64, 524288), List({128, 128}));
  EXPECT_EQ(LshBucketFactors(65536, 256, 65536), List({512}));
  // Between the powers: rounded down.
  EXPECT_EQ(LshBucketFactors(127 * 64, 64, 8192), List({128}));
  EXPECT_EQ(LshBucketFactors(64, 64, 64), List({2}));
}

TEST(LshBuckets, Count) {
  LshSpec spec;
  spec.buckets = {4, 8};
  EXPECT_EQ(spec.BucketCount(), 32);
  EXPECT_EQ(spec.RotationColumns(), 6);
  spec.buckets = {8};
  EXPECT_EQ(spec.BucketCount(), 8);
  EXPECT_EQ(spec.RotationColumns(), 4);
}

// ---- rotations ----------------------------------------------------------------------------------

// The values that torch.manual_seed(0); torch.randn(n) is known for.
TEST(LshRotationsTest, DrawsOfPyTorch) {
  std::vector<float> values(16);
  FillTorchNormal(0, {values.data(), {1, 1, 1, 16}});
  const float many[] = {-1.1258f, -1.1524f, -0.2506f, -0.4339f, 0.8487f, 0.6920f,
                        -0.3160f, -2.1152f, 0.3223f,  -1.2633f, 0.3500f, 0.3081f,
                        0.1198f,  1.2377f,  1.1168f,  -0.2473f};
  for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(values[i], many[i], 6e-5f) << i;
  FillTorchNormal(0, {values.data(), {1, 1, 1, 6}});
  const float few[] = {1.5410f, -0.2934f, -2.1788f, 0.5684f, -1.0845f, -1.3986f};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_NEAR(values[i], few[i], 6e-5f) << i;
}

// The last 16 of a count that is no multiple of 16 are drawn again.
TEST(LshRotationsTest, UnevenCountRedrawsItsEnd) {
  std::vector<float> even(32), uneven(37), longer(53);
  FillTorchNormal(7, {even.data(), {1, 1, 1, 32}});
  FillTorchNormal(7, {uneven.data(), {1, 1, 1, 37}});
  for (std::size_t i = 0; i < 21; ++i) EXPECT_EQ(even[i], uneven[i]) << i;
  for (std::size_t i = 21; i < 32; ++i) EXPECT_NE(even[i], uneven[i]) << i;
  FillTorchNormal(8, {longer.data(), {1, 1, 1, 37}});
  EXPECT_NE(longer[0], uneven[0]);
}

// ---- sort ---------------------------------------------------------------------------------------

Order Sorted(const Ids& buckets, idx_t rounds, idx_t limit) {
  const auto T = static_cast<idx_t>(buckets.size()) / rounds;
  Order order(buckets.size(), -1);
  LshSort({buckets.data(), {rounds, T}}, limit, {order.data(), {rounds, T}});
  return order;
}

TEST(LshSortTest, IsStableInEveryRound) {
  constexpr idx_t kTokens = 1000, kRounds = 3, kLimit = 37;
  Ids buckets;
  Rng rng(5);
  for (idx_t i = 0; i < kRounds * kTokens; ++i) {
    buckets.push_back(static_cast<std::uint16_t>(rng.Below(kLimit)));
  }
  const Order order = Sorted(buckets, kRounds, kLimit);
  for (idx_t r = 0; r < kRounds; ++r) {
    Order want(kTokens);
    std::iota(want.begin(), want.end(), 0);
    const std::uint16_t* ids = buckets.data() + r * kTokens;
    std::stable_sort(want.begin(), want.end(),
                     [&](std::int32_t a, std::int32_t b) { return ids[a] < ids[b]; });
    EXPECT_TRUE(std::equal(want.begin(), want.end(), order.begin() + r * kTokens)) << r;
  }
}

TEST(LshSortTest, OneBucketKeepsTheText) {
  EXPECT_EQ(Sorted(Ids(5, 3), 1, 4), Order({0, 1, 2, 3, 4}));
  EXPECT_EQ(Sorted({65535, 0, 65535}, 1, 65536), Order({1, 0, 2}));
}

TEST(LshSortTest, RefusesABucketBeyondTheLimit) {
  EXPECT_THROW(Sorted({0, 4, 1}, 1, 4), Error);
  EXPECT_THROW(Sorted({0, 1}, 1, 0), Error);
}

// ---- hash ---------------------------------------------------------------------------------------

struct HashCase {
  LshSpec spec;
  idx_t B = 1, H = 2, T = 100, D = 16;
  std::vector<std::uint8_t> mask;

  std::vector<float> Qk() const { return RandomNormal(11, B * H * T * D); }
  std::vector<float> Rotations() const {
    return RandomNormal(12, H * D * spec.rounds * spec.RotationColumns());
  }
};

Ids Hash(Context& context, const HashCase& c, const std::vector<float>& qk,
         const std::vector<float>& rotations) {
  Ids buckets(static_cast<std::size_t>(c.B * c.H * c.spec.rounds * c.T), 12345);
  KeyMask mask;
  if (!c.mask.empty()) mask = {c.mask.data(), {c.B, c.T}};
  LshHash(context, c.spec, {qk.data(), {c.B, c.H, c.T, c.D}}, mask,
          {rotations.data(), {c.H, c.D, c.spec.rounds, c.spec.RotationColumns()}},
          {buckets.data(), {c.B, c.H, c.spec.rounds, c.T}});
  return buckets;
}

// Plain loops in double; -1 where two projections are so close that rounding may decide.
std::vector<int> PlainHash(const HashCase& c, const std::vector<float>& qk,
                           const std::vector<float>& rotations) {
  std::vector<int> buckets;
  const idx_t R = c.spec.rounds, columns = c.spec.RotationColumns();
  for (idx_t bh = 0; bh < c.B * c.H; ++bh) {
    for (idx_t r = 0; r < R; ++r) {
      for (idx_t t = 0; t < c.T; ++t) {
        if (!c.mask.empty() && c.mask[static_cast<std::size_t>(bh / c.H * c.T + t)] == 0) {
          buckets.push_back(static_cast<int>(c.spec.BucketCount()));
          continue;
        }
        idx_t bucket = 0, place = 1, column = 0;
        bool close = false;
        for (const idx_t factor : c.spec.buckets) {
          std::vector<double> p;
          for (idx_t j = 0; j < factor / 2; ++j) {
            double sum = 0.0;
            for (idx_t d = 0; d < c.D; ++d) {
              const auto at = ((bh % c.H * c.D + d) * R + r) * columns + column + j;
              sum += static_cast<double>(qk[static_cast<std::size_t>((bh * c.T + t) * c.D + d)]) *
                     static_cast<double>(rotations[static_cast<std::size_t>(at)]);
            }
            p.push_back(sum);
          }
          for (idx_t j = 0; j < factor / 2; ++j) p.push_back(-p[static_cast<std::size_t>(j)]);
          const auto best = std::max_element(p.begin(), p.end());
          for (auto other = p.begin(); other != p.end(); ++other) {
            close = close || (other != best && *best - *other < 1e-4);
          }
          bucket += place * (best - p.begin());
          place *= factor;
          column += factor / 2;
        }
        buckets.push_back(close ? -1 : static_cast<int>(bucket));
      }
    }
  }
  return buckets;
}

void CheckHash(const HashCase& c) {
  Context context(2);
  const auto qk = c.Qk(), rotations = c.Rotations();
  const Ids buckets = Hash(context, c, qk, rotations);
  const auto want = PlainHash(c, qk, rotations);
  ASSERT_EQ(buckets.size(), want.size());
  std::size_t compared = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (want[i] < 0) continue;
    ++compared;
    ASSERT_EQ(buckets[i], want[i]) << i;
  }
  EXPECT_GT(compared, want.size() * 9 / 10);
  EXPECT_GE(std::set<int>(want.begin(), want.end()).size(), 2u);
}

TEST(LshHashTest, EqualsPlainLoops) {
  for (const idx_t D : {1, 5, 16, 64}) {
    for (const auto& factors :
         std::vector<std::vector<idx_t>>{{2}, {8}, {4, 8}, {30}, {32, 64}, {2, 6, 4}, {128}}) {
      HashCase c;
      c.spec.chunk = 16;
      c.spec.rounds = 3;
      c.spec.buckets = factors;
      c.D = D;
      CheckHash(c);
    }
  }
}

TEST(LshHashTest, HiddenTokensHaveABucketOfTheirOwn) {
  HashCase c;
  c.B = 2;
  c.spec.chunk = 16;
  c.spec.rounds = 2;
  c.spec.buckets = {8};
  c.mask.assign(200, 1);
  for (std::size_t i = 0; i < 200; i += 3) c.mask[i] = 0;
  CheckHash(c);
}

// A round that was ignored would not notice that its rotations changed.
TEST(LshHashTest, EveryRoundHasItsOwnRotations) {
  Context context(1);
  HashCase c;
  c.spec.chunk = 16;
  c.spec.rounds = 3;
  c.spec.buckets = {16};
  const auto qk = c.Qk();
  auto rotations = c.Rotations();
  const Ids before = Hash(context, c, qk, rotations);
  for (idx_t row = 0; row < c.H * c.D; ++row) {  // turn the signs of round 1
    for (idx_t j = 0; j < 8; ++j) {
      rotations[static_cast<std::size_t>((row * 3 + 1) * 8 + j)] *= -1.0f;
    }
  }
  const Ids after = Hash(context, c, qk, rotations);
  for (std::size_t i = 0; i < after.size(); ++i) {
    const auto round = static_cast<idx_t>(i) / c.T % 3;
    const int want = round == 1 ? (before[i] + 8) % 16 : before[i];
    ASSERT_EQ(after[i], want) << i;
  }
}

TEST(LshHashTest, TiesGoToTheLowestIndex) {
  Context context(1);
  HashCase c;
  c.H = 1;
  c.T = 4;
  c.D = 1;
  c.spec.chunk = 2;
  c.spec.buckets = {6};
  // Projections of x = 0: all 0. x = 1: (1, -1, 1); -x: (-1, 1, -1). x = 2: (2, -2, 2).
  const std::vector<float> rotations = {1.0f, -1.0f, 1.0f};
  EXPECT_EQ(Hash(context, c, {0.0f, 1.0f, -1.0f, -0.0f}, rotations), Ids({0, 0, 1, 0}));
  // Only a negated projection is largest: its index lies behind the others.
  EXPECT_EQ(Hash(context, c, {-1.0f, -1.0f, -1.0f, -1.0f}, {1.0f, 2.0f, 2.0f}), Ids({4, 4, 4, 4}));
}

TEST(LshHashTest, NanStaysInRange) {
  Context context(1);
  HashCase c;
  c.H = 1;
  c.T = 4;
  c.spec.chunk = 2;
  c.spec.buckets = {8};
  std::vector<float> qk(static_cast<std::size_t>(c.T * c.D), std::nanf(""));
  for (const std::uint16_t bucket : Hash(context, c, qk, c.Rotations())) EXPECT_LT(bucket, 8);
}

TEST(LshHashTest, SameBitsForAnyThreads) {
  HashCase c;
  c.T = 3000;
  c.spec.rounds = 2;
  c.spec.buckets = {8, 16};
  const auto qk = c.Qk(), rotations = c.Rotations();
  test::ExpectSameBitsForAnyThreads([&](Context& context) {
    const Ids buckets = Hash(context, c, qk, rotations);
    return std::vector<float>(buckets.begin(), buckets.end());
  });
}

// ---- bad arguments ------------------------------------------------------------------------------

std::string HashMessage(const HashCase& c) {
  Context context(1);
  try {
    Hash(context, c, c.Qk(), c.Rotations());
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(LshHashTest, BadArgumentsNameTheirValue) {
  HashCase good;
  good.spec.chunk = 16;
  good.spec.buckets = {8};
  EXPECT_EQ(HashMessage(good), "no error");
  HashCase c = good;
  c.spec.buckets = {7};
  EXPECT_NE(HashMessage(c).find("factor 7"), std::string::npos);
  c.spec.buckets = {};
  EXPECT_NE(HashMessage(c).find("no factor"), std::string::npos);
  c.spec.buckets = {512, 256};
  EXPECT_NE(HashMessage(c).find("65536"), std::string::npos);
  c = good;
  c.spec.rounds = 0;
  EXPECT_NE(HashMessage(c).find("0 rounds"), std::string::npos);
  c = good;
  c.mask.assign(50, 1);
  c.T = 50;
  EXPECT_EQ(HashMessage(c), "no error");
}

}  // namespace
}  // namespace longspan
