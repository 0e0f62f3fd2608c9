// Messages between ranks are timed for each pair, and those of one process are none.
#include "lab/world_bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/files.h"
#include "tests/support/thread_world.h"

namespace longspan {
namespace {

using test::OnRanks;
using test::Throws;

TEST(WorldBench, EveryRankGetsTheTimesOfAllPairs) {
  std::vector<std::vector<PairTimes>> times(3);
  OnRanks(3, [&](World& world) {
    times[static_cast<std::size_t>(world.rank())] = TimeWorld(world, 1000, 3);
  });
  ASSERT_EQ(times[0].size(), 3u);
  const std::pair<int, int> expected[] = {{0, 1}, {0, 2}, {1, 2}};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(std::pair(times[0][i].low, times[0][i].high), expected[i]);
    EXPECT_GT(times[0][i].latency_s, 0.0);
    EXPECT_TRUE(times[0][i].bytes_per_s > 0.0 && std::isfinite(times[0][i].bytes_per_s));
    for (std::size_t rank = 1; rank < 3; ++rank) {
      EXPECT_EQ(times[rank][i].latency_s, times[0][i].latency_s);
      EXPECT_EQ(times[rank][i].bytes_per_s, times[0][i].bytes_per_s);
    }
  }
}

TEST(WorldBench, OneProcessHasNoPairsAndSizesAreChecked) {
  World alone;
  EXPECT_TRUE(TimeWorld(alone, 1000, 3).empty());
  EXPECT_TRUE(Throws([&] { TimeWorld(alone, 7, 3); }, ErrorCode::kUsage, "bytes 7, need 8"));
  EXPECT_TRUE(Throws([&] { TimeWorld(alone, 8, 0); }, ErrorCode::kUsage, "steps 0"));
}

}  // namespace
}  // namespace longspan
