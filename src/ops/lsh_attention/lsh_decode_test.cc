#include "ops/lsh_attention/lsh_decode.h"

#include <gtest/gtest.h>

#include <cmath>

#include "longspan/error.h"
#include "tests/support/random.h"
#include "tests/support/runners.h"

namespace longspan {
namespace {

using test::RandomNormal;

constexpr idx_t kHeads = 3, kSize = 20;

// A text of `capacity` tokens, heads side by side: queries, values and buckets as a cache has them.
struct Text {
  Text(idx_t tokens, idx_t rounds) : capacity(tokens) {
    spec.chunk = 8;
    spec.causal = true;
    spec.rounds = rounds;
    spec.buckets = {4, 2};
    qk = RandomNormal(1, kHeads * tokens * kSize);
    v = RandomNormal(2, kHeads * tokens * kSize);
    Rng rng(3);
    for (idx_t i = 0; i < kHeads * rounds * tokens; ++i) {
      buckets.push_back(static_cast<std::uint16_t>(rng.Below(8)));
    }
  }
  View<const float, 3> Cache(const std::vector<float>& a) const {
    return {a.data(), {kHeads, capacity, kSize}, {kSize, kHeads * kSize, 1}};
  }

  // The last row of the forward pass over tokens 0 .. position.
  std::vector<float> ForwardRow(Context& context, idx_t position) const {
    const idx_t T = position + 1;
    std::vector<float> out(static_cast<std::size_t>(kHeads * T * kSize));
    std::vector<float> max(static_cast<std::size_t>(kHeads * T)), sum(max.size());
    const auto rows = [&](const std::vector<float>& a) {
      return View<const float, 4>(a.data(), {1, kHeads, T, kSize}, {0, kSize, kHeads * kSize, 1});
    };
    std::vector<std::uint16_t> ids;  // (H, R, T), contiguous
    for (idx_t i = 0; i < kHeads * spec.rounds; ++i) {
      const auto first = buckets.begin() + static_cast<std::ptrdiff_t>(i * capacity);
      ids.insert(ids.end(), first, first + static_cast<std::ptrdiff_t>(T));
    }
    LshForward(context, spec, {rows(qk), rows(v)}, {}, {ids.data(), {1, kHeads, spec.rounds, T}},
               {{out.data(), {1, kHeads, T, kSize}, {0, kSize, kHeads * kSize, 1}},
                {max.data(), {1, kHeads, T}},
                {sum.data(), {1, kHeads, T}}});
    return {out.end() - kHeads * kSize, out.end()};
  }

  std::vector<float> Decode(Context& context, idx_t position) const {
    std::vector<float> out(static_cast<std::size_t>(kHeads * kSize));
    LshDecode(context, spec, position, Cache(qk), Cache(v),
              {buckets.data(), {kHeads, spec.rounds, capacity}}, {out.data(), {kHeads, kSize}});
    return out;
  }

  idx_t capacity;
  LshSpec spec;
  std::vector<float> qk, v;
  std::vector<std::uint16_t> buckets;
};

TEST(LshDecodeTest, IsTheLastRowOfTheForwardPass) {
  Context context(2);
  for (const idx_t rounds : {1, 4}) {
    for (const idx_t before : {0, 1, 3}) {
      Text text(50, rounds);
      text.spec.before = before;
      for (idx_t position = 0; position < text.capacity; ++position) {
        const auto want = text.ForwardRow(context, position);
        const auto got = text.Decode(context, position);
        for (std::size_t i = 0; i < want.size(); ++i) {
          ASSERT_NEAR(got[i], want[i], 2e-6) << position << " " << rounds << " " << before;
        }
      }
    }
  }
}

TEST(LshDecodeTest, SameBitsForAnyThreads) {
  const Text text(50, 4);
  test::ExpectSameBitsForAnyThreads([&](Context& context) { return text.Decode(context, 49); });
}

TEST(LshDecodeTest, BadArguments) {
  Context context(1);
  Text text(50, 2);
  EXPECT_THROW(text.Decode(context, 50), Error);
  EXPECT_THROW(text.Decode(context, -1), Error);
  text.spec.causal = false;
  EXPECT_THROW(text.Decode(context, 20), Error);
  text.spec.causal = true;
  text.spec.after = 1;
  EXPECT_THROW(text.Decode(context, 20), Error);
  text.spec.after = 0;
  text.buckets[20] = 9;
  EXPECT_THROW(text.Decode(context, 30), Error);
}

}  // namespace
}  // namespace longspan
