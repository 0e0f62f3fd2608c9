#include "ops/cached_attention/cached_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "longspan/attention.h"
#include "longspan/context.h"
#include "ops/cached_attention/cached_attention_ref.h"
#include "tests/support/compare.h"
#include "tests/support/random.h"

namespace longspan {
namespace {

using test::RandomNormal;

// A query, cells and a list of them, every third one twice.
struct Problem {
  Problem(idx_t cells, idx_t size, float stddev, bool self)
      : query(RandomNormal(1, size, stddev)), memory(RandomNormal(2, cells * 2 * size)) {
    for (idx_t i = 0; i < cells; ++i) {
      for (idx_t times = i % 3 == 0 ? 2 : 1; times > 0; --times) {
        list.push_back(memory.data() + i * 2 * size);
      }
    }
    weights.resize(static_cast<std::size_t>(CachedWeights(static_cast<idx_t>(list.size()))));
    out.resize(static_cast<std::size_t>(size), NAN);
    q.query = query.data();
    q.cells = list.data();
    q.count = static_cast<idx_t>(list.size());
    q.size = size;
    q.scale = 0.7f;
    if (self) q.self = list.back();
    q.weights = weights.data();
    q.out = out.data();
  }
  std::vector<float> query, memory, weights, out;
  std::vector<const float*> list;
  CachedQuery q;
};

TEST(CachedAttention, MatchesTheReference) {
  const Context context(1);  // caps the instruction set
  for (const idx_t cells : {1, 2, 3, 5, 16, 33, 130}) {
    for (const idx_t size : {1, 3, 8, 17, 20, 64, 65, 128, 200}) {
      for (const bool self : {false, true}) {
        for (const float stddev : {0.1f, 3.0f}) {
          Problem p(cells, size, stddev, self);
          AttendCached(p.q);
          const auto oracle = ref::AttendCached<double>(p.q);
          const auto naive = ref::AttendCached<float>(p.q);
          SCOPED_TRACE(testing::Message() << cells << " cells of " << size << " " << self);
          EXPECT_MATCHES(std::span<const float>(p.out), std::span<const double>(oracle),
                         (test::Tolerance{2e-5, 2e-5}));
          EXPECT_MATCHES(std::span<const float>(naive), std::span<const double>(oracle),
                         (test::Tolerance{2e-5, 2e-5}));
        }
      }
    }
  }
}

// The token itself counts only when it sees nobody else, as often as it is listed.
TEST(CachedAttention, SelfIsTheLastResort) {
  const Context context(1);
  Problem p(1, 20, 1.0f, true);
  AttendCached(p.q);
  for (std::size_t d = 0; d < 20; ++d) EXPECT_FLOAT_EQ(p.out[d], p.memory[20 + d]);
  Problem several(4, 20, 1.0f, true);
  AttendCached(several.q);
  for (std::size_t i = 0; i < several.list.size(); ++i) {
    if (several.list[i] == several.q.self) {
      EXPECT_EQ(several.weights[i], 0.0f);
    }
  }
}

TEST(CachedAttention, KeysHaveOneLength) {
  const Context context(1);
  for (const idx_t size : {1, 7, 64, 100}) {
    const std::vector<float> x = RandomNormal(3, size, 5.0f);
    std::vector<float> key(x.size());
    SharedKey(x.data(), size, key.data());
    double squares = 0.0;
    for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
    const auto n = static_cast<double>(size);
    for (std::size_t d = 0; d < x.size(); ++d) {
      const double want = static_cast<double>(x[d]) / std::sqrt(squares / n + 1e-6) / std::sqrt(n);
      EXPECT_NEAR(key[d], want, 1e-6 * std::abs(want));
    }
  }
}

}  // namespace
}  // namespace longspan
