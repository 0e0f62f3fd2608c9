// Weights on their way from rank to rank: each is there when it is read, those of a layer without
// those of the next one, and none is shown that has not come.
#include "train/weight_exchange.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "tests/support/files.h"
#include "tests/support/thread_world.h"
#include "train/shares_test.h"

namespace longspan {
namespace {

using test::IsOfWeights;
using test::OnRanks;
using test::SharesFor;
using test::Throws;
using test::TryOnRanks;

constexpr idx_t kStageNumbers = 4 * ParameterShares::kUnit;

// Three stages of four blocks, of which two ranks update one after the other. A rank's own are 1 +
// its rank after an update; the others are 0.
struct UpdatedTable {
  explicit UpdatedTable(const World& world) {
    table.Add("words", {kStageNumbers}, ParameterKind::kEmbedding);
    for (const char* name : {"first", "second"}) {
      table.BeginStage();
      table.Add(name, {kStageNumbers}, ParameterKind::kBias);
    }
    table.Allocate();
    shares = SharesFor(table, world.size());
    const ParameterWriter writer = table.Write();
    for (const OwnedRange& range : shares->Updated()) {
      if (range.owner != world.rank()) continue;
      std::fill(writer.values().data + range.begin, writer.values().data + range.end,
                static_cast<float>(1 + range.owner));
    }
  }
  // Whether numbers [begin, end) are those of their owners.
  bool IsWhole(idx_t begin, idx_t end) const {
    const View<const float, 1> values = std::as_const(table).values(begin, end);
    const std::vector<OwnedRange> ranges = shares->Updated();
    return std::all_of(ranges.begin(), ranges.end(), [&](const OwnedRange& range) {
      for (idx_t i = std::max(range.begin, begin); i < std::min(range.end, end); ++i) {
        if (values.data[i - begin] != static_cast<float>(1 + range.owner)) return false;
      }
      return true;
    });
  }

  ParameterTable table;
  std::shared_ptr<const ParameterShares> shares;
};

// Waits until it is set, or for 20 s. False: it is not.
bool Wait(const std::atomic<bool>& set) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!set && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  return set;
}

TEST(WeightExchange, ALayersWeightsAreThereBeforeTheNextOnesAreSent) {
  constexpr std::size_t kStageBytes = kStageNumbers / 2 * sizeof(float);  // half of it is rank 1's
  std::atomic<bool> read = false, too_late = false;
  std::atomic<std::size_t> sent = 0;
  const auto on_send = [&](int rank, int tag, std::size_t bytes) {
    if (rank != 1 || !IsOfWeights(tag)) return;
    // With the last stage's rank 1 waits until rank 0 has read the others.
    sent += bytes;
    if (sent > 2 * kStageBytes) too_late = too_late || !Wait(read);
  };
  OnRanks(
      2,
      [&](World& world) {
        UpdatedTable updated(world);
        WeightExchange exchange(&world, updated.shares);
        const std::uint64_t before = updated.table.generation();
        exchange.Updated(updated.table);
        exchange.Send();
        EXPECT_GT(updated.table.generation(), before) << "bf16 weights are rounded anew";
        EXPECT_TRUE(updated.IsWhole(0, kStageNumbers));
        EXPECT_TRUE(updated.IsWhole(kStageNumbers, 2 * kStageNumbers));
        if (world.is_first()) read = true;
        EXPECT_TRUE(updated.IsWhole(2 * kStageNumbers, 3 * kStageNumbers));
        exchange.AwaitAll();
      },
      on_send);
  EXPECT_EQ(sent, 3 * kStageBytes);
  EXPECT_FALSE(too_late);
}

// Whoever wants all of them, for a file or for the next update, has all.
TEST(WeightExchange, AllAreThereBeforeAnythingElse) {
  for (const int ranks : {2, 3, 4}) {
    for (const bool sends : {false, true}) {
      OnRanks(ranks, [&](World& world) {
        UpdatedTable updated(world);
        WeightExchange exchange(&world, updated.shares);
        for (int update = 0; update < 2; ++update) {
          exchange.Updated(updated.table);
          if (sends) exchange.Send();
          exchange.AwaitAll();
          EXPECT_TRUE(updated.IsWhole(0, updated.table.extent()));
        }
      });
    }
  }
}

// What is being sent is not overwritten, although its owner needs nothing of the others.
TEST(WeightExchange, AWriterWaitsUntilAllAreSent) {
  OnRanks(2, [&](World& world) {
    UpdatedTable updated(world);
    WeightExchange exchange(&world, updated.shares);
    exchange.Updated(updated.table);
    exchange.Send();
    if (world.is_first()) {
      const ParameterWriter writer = updated.table.Write();
      std::fill_n(writer.values().data, updated.table.extent(), -1.0f);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      EXPECT_TRUE(updated.IsWhole(0, updated.table.extent()));
      exchange.AwaitAll();
    }
  });
}

TEST(WeightExchange, OneProcessHasAllWeights) {
  const World alone;
  UpdatedTable updated(alone);
  WeightExchange exchange(nullptr, updated.shares);
  exchange.Updated(updated.table);
  EXPECT_TRUE(updated.IsWhole(0, updated.table.extent()));
  exchange.Send();
  exchange.AwaitAll();
}

// Between an update and its exchange other ranks may wait for something else.
TEST(WeightExchange, WeightsAreNotReadBeforeTheyAreSent) {
  OnRanks(2, [&](World& world) {
    UpdatedTable updated(world);
    WeightExchange exchange(&world, updated.shares);
    exchange.Updated(updated.table);
    EXPECT_TRUE(Throws([&] { updated.IsWhole(0, 1); }, ErrorCode::kUsage, "between an update and"));
    exchange.AwaitAll();
    EXPECT_TRUE(updated.IsWhole(0, 1));
  });
}

// A model whose training has ended in the midst of an exchange has old weights beside new ones.
TEST(WeightExchange, LostWeightsAreNeverShown) {
  for (const bool sends : {false, true}) {
    std::atomic<bool> begun = false;
    const auto thrown = TryOnRanks(2, [&](World& world) {
      UpdatedTable updated(world);
      {
        WeightExchange exchange(&world, updated.shares);
        exchange.Updated(updated.table);
        if (world.is_first()) begun = true;
        if (!world.is_first() && Wait(begun)) throw Error(ErrorCode::kLimit, "no memory");
        if (sends) {
          exchange.Send();
          EXPECT_TRUE(Throws([&] { updated.IsWhole(0, updated.table.extent()); }, ErrorCode::kPeer,
                             "no memory"));
        }
      }
      EXPECT_TRUE(Throws([&] { updated.IsWhole(0, 1); }, ErrorCode::kPeer, "load a checkpoint"));
      EXPECT_TRUE(Throws([&] { updated.table.Write(); }, ErrorCode::kPeer, "load a checkpoint"));
    });
    EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[1]); }, ErrorCode::kLimit, "no memory"));
    EXPECT_FALSE(thrown[0]);
  }
}

}  // namespace
}  // namespace longspan
