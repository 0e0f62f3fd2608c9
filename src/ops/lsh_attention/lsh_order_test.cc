// Sorted rounds of growing texts, and the hash of a single token.
#include "ops/lsh_attention/lsh_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/errors.h"
#include "base/rng.h"
#include "ops/lsh_attention/lsh_token_hash.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

constexpr idx_t kLists = 3, kBuckets = 7;

using Buckets = std::vector<std::vector<std::uint16_t>>;  // [list][token]

Buckets RandomBuckets(std::uint64_t seed, idx_t tokens, idx_t limit) {
  Rng rng(seed);
  Buckets buckets(kLists);
  for (auto& list : buckets) {
    for (idx_t t = 0; t < tokens; ++t) list.push_back(static_cast<std::uint16_t>(rng.Below(limit)));
  }
  return buckets;
}

// Tokens 0 .. n-1 of a list by (bucket, position).
std::vector<std::int32_t> Sorted(const std::vector<std::uint16_t>& buckets, idx_t n) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return buckets[static_cast<std::size_t>(a)] < buckets[static_cast<std::size_t>(b)];
  });
  return order;
}

LshOrder Started(Context& context, const Buckets& buckets, idx_t tokens, idx_t tail_limit) {
  LshOrder order(kLists, kBuckets, tail_limit);
  std::vector<std::uint16_t> flat;
  for (const auto& list : buckets) flat.insert(flat.end(), list.begin(), list.begin() + tokens);
  if (tokens > 0) order.Assign(context, {flat.data(), {kLists, tokens}});
  return order;
}

// Adds token `t`; its rank in every list must be where the sort puts it.
void Add(Context& context, const Buckets& buckets, idx_t t, LshOrder* order) {
  order->Grow(context);
  for (idx_t list = 0; list < kLists; ++list) {
    const auto& ids = buckets[static_cast<std::size_t>(list)];
    const auto sorted = Sorted(ids, t + 1);
    const idx_t rank =
        std::find(sorted.begin(), sorted.end(), static_cast<std::int32_t>(t)) - sorted.begin();
    ASSERT_EQ(order->Place(list, ids[static_cast<std::size_t>(t)]), rank) << t << " " << list;
  }
}

void ExpectWindows(const LshOrder& order, const Buckets& buckets) {
  const idx_t n = order.tokens();
  for (idx_t list = 0; list < kLists; ++list) {
    const auto sorted = Sorted(buckets[static_cast<std::size_t>(list)], n);
    for (const idx_t begin :
         std::vector<idx_t>{-2 * n - 3, -5, -1, 0, 1, n / 2, n - 1, n, 3 * n + 2}) {
      for (const idx_t length : {idx_t{1}, idx_t{4}, n, 2 * n + 3}) {
        std::vector<std::int32_t> window(static_cast<std::size_t>(length), -1);
        order.Window(list, begin, window);
        for (idx_t i = 0; i < length; ++i) {
          const idx_t rank = ((begin + i) % n + n) % n;
          ASSERT_EQ(window[static_cast<std::size_t>(i)], sorted[static_cast<std::size_t>(rank)])
              << "list " << list << ", " << n << " tokens, rank " << begin << " + " << i;
        }
      }
    }
  }
}

TEST(LshOrder, IsTheStableSortOfAGrowingText) {
  Context context(2);
  const Buckets buckets = RandomBuckets(1, 60, kBuckets);
  for (const idx_t start : {0, 1, 17}) {
    for (const idx_t tail_limit : {1, 2, 5, 1024}) {
      LshOrder order = Started(context, buckets, start, tail_limit);
      for (idx_t t = start; t < 60; ++t) {
        Add(context, buckets, t, &order);
        ASSERT_EQ(order.tokens(), t + 1);
        ExpectWindows(order, buckets);
      }
    }
  }
}

TEST(LshOrder, CopiesGoTheirOwnWays) {
  Context context(1);
  Buckets a = RandomBuckets(1, 40, kBuckets);
  Buckets b = RandomBuckets(2, 40, kBuckets);
  for (std::size_t list = 0; list < kLists; ++list) {
    std::copy_n(a[list].begin(), 20, b[list].begin());  // they begin alike
  }
  LshOrder first = Started(context, a, 15, 4);
  for (idx_t t = 15; t < 20; ++t) Add(context, a, t, &first);
  LshOrder second = first;
  for (idx_t t = 20; t < 40; ++t) {
    Add(context, a, t, &first);
    Add(context, b, t, &second);
  }
  ExpectWindows(first, a);
  ExpectWindows(second, b);
}

TEST(LshOrder, OneBucketKeepsTheText) {
  Context context(1);
  const Buckets buckets = RandomBuckets(1, 12, 1);
  LshOrder order = Started(context, buckets, 3, 4);
  for (idx_t t = 3; t < 12; ++t) Add(context, buckets, t, &order);
  std::vector<std::int32_t> window(4);
  order.Window(0, 8, window);
  EXPECT_EQ(window, (std::vector<std::int32_t>{8, 9, 10, 11}));
}

TEST(LshOrder, BadArguments) {
  Context context(1);
  EXPECT_THROW(LshOrder(0, 4), Error);
  EXPECT_THROW(LshOrder(1, 0), Error);
  EXPECT_THROW(LshOrder(1, 65537), Error);
  LshOrder order(1, 4);
  const std::vector<std::uint16_t> buckets = {0, 4, 1};
  EXPECT_THROW(order.Assign(context, {buckets.data(), {1, 3}}), Error);
  EXPECT_THROW(order.Assign(context, {buckets.data(), {3, 1}}), Error);
}

TEST(LshTokenHash, GivesTheBucketsOfTheWholeText) {
  Context context(2);
  constexpr idx_t kHeads = 3, kTokens = 50;
  for (const idx_t size : {8, 20, 64}) {
    for (const std::vector<idx_t>& factors :
         {std::vector<idx_t>{2}, std::vector<idx_t>{64}, std::vector<idx_t>{4, 6, 2}}) {
      for (const idx_t rounds : {1, 4}) {
        LshSpec spec;
        spec.rounds = rounds;
        spec.buckets = factors;
        const idx_t columns = spec.RotationColumns();
        const auto rotations = test::RandomNormal(1, kHeads * size * rounds * columns);
        const auto x = test::RandomNormal(2, kHeads * kTokens * size);
        const LshRotations view(rotations.data(), {kHeads, size, rounds, columns});
        std::vector<std::uint16_t> all(static_cast<std::size_t>(kHeads * rounds * kTokens));
        LshHash(context, spec, {x.data(), {1, kHeads, kTokens, size}}, {}, view,
                {all.data(), {1, kHeads, rounds, kTokens}});
        const LshTokenHash hash(spec, view);
        alignas(64) float scratch[1024];
        ASSERT_LE(hash.scratch_floats(), 1024);
        std::vector<std::uint16_t> buckets(static_cast<std::size_t>(rounds));
        for (idx_t h = 0; h < kHeads; ++h) {
          for (idx_t t = 0; t < kTokens; ++t) {
            hash.Hash(h, x.data() + (h * kTokens + t) * size, scratch, buckets.data());
            for (idx_t r = 0; r < rounds; ++r) {
              ASSERT_EQ(buckets[static_cast<std::size_t>(r)],
                        all[static_cast<std::size_t>((h * rounds + r) * kTokens + t)]);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace longspan
