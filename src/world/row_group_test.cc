// Ranks that share rows, with threads as ranks.
#include "world/row_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "tests/support/files.h"
#include "tests/support/thread_world.h"

namespace longspan {
namespace {

using test::OnRanks;
using test::Throws;
using test::TryOnRanks;

double Seconds(std::chrono::milliseconds time) { return 1e-3 * static_cast<double>(time.count()); }

double Total(const ExchangeCounts& counts) {
  double seconds = 0.0;
  for (const ExchangeCount& count : counts) seconds += count.waited_s;
  return seconds;
}

TEST(RowGroup, SlabsAreNeighboursAndAlmostEqual) {
  for (const int ranks : {1, 2, 3, 4, 7}) {
    for (const idx_t n : {7, 37, 1000, 7168, 65'536, 65'537, 100'000}) {
      SCOPED_TRACE(fmt::format("{} tokens, {} ranks", n, ranks));
      const RowGroup group(0, ranks);
      const std::vector<idx_t> borders = group.Borders(n);
      ASSERT_EQ(std::ssize(borders), ranks + 1);
      EXPECT_EQ(borders.front(), 0);
      EXPECT_EQ(borders.back(), n);
      for (int r = 0; r < ranks; ++r) {
        const idx_t size = borders[static_cast<std::size_t>(r) + 1] - group.SlabOf(n, r).begin;
        EXPECT_EQ(size, group.SlabOf(n, r).size());
        EXPECT_GE(size, 1);
        EXPECT_LE(static_cast<double>(size), 1.0 + 1.13 * static_cast<double>(n) / ranks);
        const bool is_long = n >= 1024 * ranks;
        if (is_long) {
          EXPECT_EQ(group.SlabOf(n, r).begin % RowGroup::kUnit, 0);
        }
      }
    }
  }
}

TEST(RowGroup, OfFewerTokensThanRanksSomeRanksHaveNone) {
  EXPECT_EQ(RowGroup(0, 4).Borders(3), (std::vector<idx_t>{0, 0, 1, 2, 3}));
  EXPECT_EQ(RowGroup(3, 4).Mine(1).size(), 1);
  EXPECT_EQ(RowGroup(0, 4).Mine(1).size(), 0);
}

TEST(RowGroup, GroupsAreNeighboursInTheWorld) {
  OnRanks(6, [](World& world) {
    const RowGroup pair(world, 2), half(world, 3), all(world, 6), one(world, 1);
    EXPECT_EQ(pair.rank(), world.rank() % 2);
    EXPECT_EQ(half.rank(), world.rank() % 3);
    EXPECT_EQ(all.rank(), world.rank());
    EXPECT_EQ(one.size(), 1);
    EXPECT_TRUE(Throws([&] { RowGroup(world, 4); }, ErrorCode::kUsage,
                       "row-ranks: 4 does not divide the number of ranks, 6"));
  });
}

// Pieces of other sizes for every pair, some of them empty, and twice at once: the first one is
// waited for last.
TEST(RowGroup, PiecesReachTheRanksOfTheirGroup) {
  constexpr int kRanks = 3;
  const auto count = [](int from, int to) { return (from * 5 + to * 3) % 4; };
  OnRanks(2 * kRanks, [&](World& world) {
    RowGroup group(world, kRanks);
    const int own = group.rank(), first = world.rank() - own;
    const auto value = [&](int from, int to, int i, int round) {
      return (first + from) * 1000 + to * 100 + i * 10 + round;
    };
    std::vector<std::vector<int>> memory[2], arrived[2];
    std::vector<RowGroup::Pending> pending(2);
    for (int round = 0; round < 2; ++round) {
      std::vector<RowGroup::Piece> sends, receives;
      memory[round].resize(kRanks);
      arrived[round].resize(kRanks);
      for (int r = 0; r < kRanks; ++r) {
        auto& out = memory[round][static_cast<std::size_t>(r)];
        auto& in = arrived[round][static_cast<std::size_t>(r)];
        for (int i = 0; i < count(own, r); ++i) out.push_back(value(own, r, i, round));
        in.resize(static_cast<std::size_t>(count(r, own)));
        sends.push_back({out.data(), out.size() * sizeof(int)});
        receives.push_back({in.data(), in.size() * sizeof(int)});
      }
      pending[static_cast<std::size_t>(round)] =
          group.Exchange(ExchangeKind::kRows, sends, receives);
    }
    pending[1].Wait();
    pending[0].Wait();
    EXPECT_TRUE(pending[0].Done());
    for (int round = 0; round < 2; ++round) {
      for (int r = 0; r < kRanks; ++r) {
        for (int i = 0; i < count(r, own); ++i) {
          EXPECT_EQ(arrived[round][static_cast<std::size_t>(r)][static_cast<std::size_t>(i)],
                    value(r, own, i, round));
        }
      }
    }
  });
}

// 1e16 + 1 - 1e16 depends on the order.
TEST(RowGroup, SumsAreAddedInTheOrderOfTheRanks) {
  OnRanks(4, [](World& world) {
    RowGroup all(world, 4), pair(world, 2);
    const double values[] = {1e16, 1.0, -1e16, 1.0};
    std::vector<double> sum = {values[world.rank()], static_cast<double>(world.rank())};
    all.Sum(sum);
    EXPECT_EQ(sum, (std::vector<double>{((1e16 + 1.0) - 1e16) + 1.0, 6.0}));
    std::vector<float> two = {static_cast<float>(world.rank() + 1)};
    pair.Sum(two);
    EXPECT_EQ(two[0], world.rank() < 2 ? 3.0f : 7.0f);
  });
}

TEST(RowGroup, ABroadcastStaysInTheGroup) {
  OnRanks(4, [](World& world) {
    RowGroup group(world, 2);
    int value = world.rank();
    group.Broadcast(&value, sizeof(value), 1);
    EXPECT_EQ(value, world.rank() / 2 * 2 + 1);
  });
}

// Of messages of four kinds those of one are late: the waiting counts for it and for no other. A
// thread that the machine has no time for waits too, so that the least of some attempts counts.
TEST(RowGroup, WaitingAndBytesCountForTheKindOfAnExchange) {
  using std::chrono::milliseconds;
  constexpr ExchangeKind kKinds[] = {ExchangeKind::kHalos, ExchangeKind::kHeads,
                                     ExchangeKind::kGlobals, ExchangeKind::kRows};
  constexpr milliseconds kLate(60);
  for (const ExchangeKind late : kKinds) {
    SCOPED_TRACE(NameOf(late));
    std::array<double, kExchangeKinds> least;
    least.fill(1e9);
    const auto body = [&](World& world) {
      RowGroup group(world, 2);
      const ExchangeCounts before = world.exchanged();
      for (const ExchangeKind kind : kKinds) {
        std::vector<char> sent(10 + static_cast<std::size_t>(kind)), got(sent.size());
        const auto other = static_cast<std::size_t>(1 - group.rank());
        std::vector<RowGroup::Piece> sends(2), receives(2);
        sends[other] = {sent.data(), sent.size()};
        receives[other] = {got.data(), got.size()};
        group.Exchange(kind, sends, receives).Wait();
      }
      const ExchangeCounts counts = CountsSince(world.exchanged(), before);
      for (const ExchangeKind kind : kKinds) {
        EXPECT_EQ(counts[static_cast<std::size_t>(kind)].bytes, 10u + static_cast<unsigned>(kind));
      }
      EXPECT_GE(counts[static_cast<std::size_t>(late)].waited_s, 0.9 * Seconds(kLate));
      EXPECT_NEAR(world.seconds_waited(), Total(world.exchanged()), 1e-9);
      if (!world.is_first()) return;
      for (std::size_t i = 0; i < least.size(); ++i) {
        least[i] = std::min(least[i], counts[i].waited_s);
      }
    };
    const auto others = [&] {
      double most = 0.0;
      for (std::size_t i = 0; i < least.size(); ++i) {
        if (i != static_cast<std::size_t>(late)) most = std::max(most, least[i]);
      }
      return most;
    };
    for (int attempt = 0; attempt < 10 && others() > 0.5 * Seconds(kLate); ++attempt) {
      OnRanks(2, body, {}, [&](int tag) { return tag == RowTag(late) ? kLate : milliseconds(0); });
    }
    EXPECT_LE(others(), 0.5 * Seconds(kLate));
  }
}

TEST(RowGroup, ARankThatGivesUpEndsTheWaitingOfItsGroup) {
  const auto thrown = TryOnRanks(2, [](World& world) {
    RowGroup group(world, 2);
    if (world.rank() == 1) throw Error(ErrorCode::kLimit, "no memory");
    double value = 1.0;
    group.Sum(std::span(&value, 1));
  });
  ASSERT_TRUE(thrown[0]);
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[0]); }, ErrorCode::kPeer, "no memory"));
}

}  // namespace
}  // namespace longspan
