// The connections that tell who is still there, between threads of this process.
#include "world/watch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <thread>

#include "tests/support/files.h"
#include "world/patience.h"
#include "world/sockets.h"

namespace longspan {
namespace {

using std::chrono::milliseconds;
using test::Throws;

class WatchTest : public ::testing::Test {
 protected:
  WatchPlan Plan(int rank, int ranks) const {
    WatchPlan plan;
    plan.rank = rank;
    for (int r = 0; r < ranks; ++r) plan.hosts.push_back("host" + std::to_string(r));
    plan.beat = milliseconds(20);
    plan.silence = silence;
    plan.missed = miss_after;
    plan.connect = milliseconds(5000);
    return plan;
  }

  void Start(int ranks) {
    const Watch::Door door;
    std::vector<std::future<std::unique_ptr<Watch>>> others;
    for (int rank = 1; rank < ranks; ++rank) {
      others.push_back(std::async(std::launch::async, [&, rank] {
        return std::make_unique<Watch>(Plan(rank, ranks), door.address());
      }));
    }
    watches.push_back(std::make_unique<Watch>(Plan(0, ranks), door));
    for (auto& other : others) watches.push_back(other.get());
  }

  // What a rank says of the others, when it does.
  std::string FailureOf(std::size_t rank) const {
    for (int i = 0; i < 1000 && !watches[rank]->failed(); ++i) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    return watches[rank]->Failure();
  }

  // Signs of life come late on a loaded machine, so a test shortens only what it is about.
  milliseconds silence{20'000}, miss_after{20'000};
  std::vector<std::unique_ptr<Watch>> watches;  // by rank
};

TEST_F(WatchTest, ARunThatEndsIsNoFailure) {
  Start(3);
  std::this_thread::sleep_for(milliseconds(60));  // some signs of life
  std::vector<std::thread> threads;
  for (auto& watch : watches) threads.emplace_back([&] { watch->Finish(); });
  for (std::thread& thread : threads) thread.join();
  for (auto& watch : watches) EXPECT_EQ(watch->Failure(), "");
  watches.pop_back();  // closes its connection
  std::this_thread::sleep_for(milliseconds(40));
  for (auto& watch : watches) EXPECT_EQ(watch->Failure(), "");
}

TEST_F(WatchTest, ARankWhoseConnectionClosesIsNamedByAll) {
  Start(3);
  watches[2]->Tell(12);
  std::this_thread::sleep_for(milliseconds(400));
  std::promise<std::string> told;
  watches[1]->OnFailure([&](const std::string& line) { told.set_value(line); });
  watches[2].reset();
  const std::string line = "rank 2 on host2, after update 12, has ended without a word";
  EXPECT_EQ(FailureOf(0), line);
  EXPECT_EQ(FailureOf(1), line);
  EXPECT_EQ(told.get_future().get(), line);
  for (const std::size_t rank : {0u, 1u}) {
    EXPECT_EQ(watches[rank]->FailureCode(), ErrorCode::kPeer);
  }
}

TEST_F(WatchTest, WithoutRankZeroEveryRankNamesIt) {
  Start(3);
  watches[0].reset();
  for (const std::size_t rank : {1u, 2u}) {
    EXPECT_EQ(FailureOf(rank), "rank 0 on host0, after update 0, has ended without a word");
  }
}

TEST_F(WatchTest, ARankThatGivesUpSaysWhy) {
  for (const std::size_t who : {0u, 1u}) {
    watches.clear();
    Start(3);
    watches[who]->Tell(3);
    std::this_thread::sleep_for(milliseconds(300));
    watches[who]->Abandon("train.csv:3: no\nlabel", ErrorCode::kFormat);
    for (std::size_t rank = 0; rank < 3; ++rank) {
      if (rank == who) continue;
      EXPECT_EQ(FailureOf(rank), fmt::format("rank {} on host{}, after update 3, failed: "
                                             "train.csv:3: no label",
                                             who, who));
      EXPECT_EQ(watches[rank]->FailureCode(), ErrorCode::kFormat);
    }
    EXPECT_EQ(watches[who]->Failure(), "");
  }
}

// Two ranks find the same mistake, rank 1 a moment earlier.
TEST_F(WatchTest, ARankThatHasGivenUpStillHearsRankZero) {
  int port = 0;
  const Socket listening = ListenAnywhere(&port);
  auto rank = std::async(std::launch::async, [&] {
    return std::make_unique<Watch>(Plan(1, 2), fmt::format("{} secret 127.0.0.1", port));
  });
  Socket zero = AcceptWithin(listening, milliseconds(2000));
  ASSERT_TRUE(zero.Write("welcome\n", milliseconds(1000)));
  watches.push_back(rank.get());
  watches[0]->Abandon("accumulate: 1", ErrorCode::kUsage);
  EXPECT_EQ(watches[0]->Failure(), "");
  const std::string line = "rank 0 on host0, after update 0, failed: accumulate: 1";
  ASSERT_TRUE(zero.Write("gone 2 " + line + "\n", milliseconds(1000)));
  for (int i = 0; i < 1000 && watches[0]->Failure().empty(); ++i) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(watches[0]->Failure(), line);
  EXPECT_FALSE(watches[0]->failed());
}

// A rank's words are believed only where they name a kind.
TEST_F(WatchTest, AReasonWithoutAKindIsThatOfARankThatIsGone) {
  const Watch::Door door;
  for (const auto& [said, code, why] :
       {std::tuple("why 3 no label", ErrorCode::kFormat, "no label"),
        std::tuple("why 77 no label", ErrorCode::kPeer, "no label"),
        std::tuple("why no label", ErrorCode::kPeer, "no label"),
        std::tuple("why 3", ErrorCode::kPeer, "3")}) {
    auto hub =
        std::async(std::launch::async, [&] { return std::make_unique<Watch>(Plan(0, 2), door); });
    const std::string secret = door.address().substr(door.address().find(' ') + 1, 32);
    Socket rank = ConnectTo("127.0.0.1", std::stoi(door.address()), milliseconds(2000));
    ASSERT_TRUE(rank.Write("hello " + secret + " 1\n", milliseconds(1000)));
    watches.clear();
    watches.push_back(hub.get());
    ASSERT_TRUE(rank.Write(std::string(said) + "\n", milliseconds(1000)));
    EXPECT_EQ(FailureOf(0), "rank 1 on host1, after update 0, failed: " + std::string(why));
    EXPECT_EQ(watches[0]->FailureCode(), code);
  }
}

// A process that is stopped keeps its connection.
TEST_F(WatchTest, ARankThatIsSilentIsGone) {
  silence = milliseconds(200);
  const Watch::Door door;
  const std::string address = door.address();
  auto hub =
      std::async(std::launch::async, [&] { return std::make_unique<Watch>(Plan(0, 2), door); });
  const int port = std::stoi(address);
  const std::string secret = address.substr(address.find(' ') + 1, 32);
  Socket silent = ConnectTo("127.0.0.1", port, milliseconds(2000));
  ASSERT_TRUE(silent.Write("hello " + secret + " 1\n", milliseconds(1000)));
  watches.push_back(hub.get());
  EXPECT_EQ(FailureOf(0), "rank 1 on host1, after update 0, is silent for 0 s");
  std::string told;
  ASSERT_TRUE(silent.ReadInto(&told));
  EXPECT_NE(told.find("gone 8 rank 1 on host1"), std::string::npos) << told;
}

// A rank is at its end and another one waits for a message of it; the third one for nobody.
TEST_F(WatchTest, ARankAtItsEndIsMissedByWhoWaitsForIt) {
  for (const auto& [at_end, waits] : {std::pair(1, 0), std::pair(2, 1), std::pair(0, 2)}) {
    watches.clear();
    miss_after = milliseconds(150);
    Start(3);
    watches[static_cast<std::size_t>(waits)]->Expect(at_end, true);
    std::this_thread::sleep_for(milliseconds(200));
    for (auto& watch : watches) EXPECT_EQ(watch->Failure(), "");
    watches[static_cast<std::size_t>(at_end)]->ComeToEnd();
    const std::string missed = fmt::format(
        "rank {0} on host{0}, after update 0, has come to its end, while rank {1} on host{1} waits "
        "for it",
        at_end, waits);
    const std::string waiting = fmt::format(
        "rank {0} on host{0}, after update 0, failed: waits for rank {1} on host{1}, which has "
        "come to its end",
        waits, at_end);
    for (int rank = 0; rank < 3; ++rank) {
      EXPECT_EQ(FailureOf(static_cast<std::size_t>(rank)),
                rank == waits || waits == 0 ? missed : waiting);
      EXPECT_EQ(watches[static_cast<std::size_t>(rank)]->FailureCode(), ErrorCode::kPeer);
    }
  }
}

// Messages that come although their sender is at its end, and ends at different times.
TEST_F(WatchTest, RanksMayComeToTheirEndOneAfterAnother) {
  miss_after = milliseconds(400);
  Start(3);
  watches[0]->Expect(2, true);
  watches[2]->ComeToEnd();
  std::this_thread::sleep_for(milliseconds(30));
  watches[0]->Expect(2, false);
  std::this_thread::sleep_for(milliseconds(500));
  watches[1]->ComeToEnd();
  EXPECT_FALSE(watches[0]->all_at_end());
  watches[0]->ComeToEnd();
  for (auto& watch : watches) {
    for (int i = 0; i < 1000 && !watch->all_at_end(); ++i) {
      std::this_thread::sleep_for(milliseconds(5));
    }
    EXPECT_TRUE(watch->all_at_end());
    EXPECT_EQ(watch->Failure(), "");
  }
}

TEST_F(WatchTest, StrangersAreNotTakenForRanks) {
  const Watch::Door door;
  const int port = std::stoi(door.address());
  auto hub =
      std::async(std::launch::async, [&] { return std::make_unique<Watch>(Plan(0, 2), door); });
  Socket stranger = ConnectTo("127.0.0.1", port, milliseconds(2000));
  ASSERT_TRUE(stranger.Write("hello 00000000000000000000000000000000 1\n", milliseconds(1000)));
  auto rank = std::async(std::launch::async,
                         [&] { return std::make_unique<Watch>(Plan(1, 2), door.address()); });
  watches.push_back(hub.get());
  watches.push_back(rank.get());
  EXPECT_FALSE(watches[0]->failed());
}

TEST_F(WatchTest, ARankThatDoesNotComeIsNamed) {
  WatchPlan plan = Plan(0, 2);
  plan.connect = milliseconds(100);
  const Watch::Door door;
  EXPECT_TRUE(Throws([&] { Watch(plan, door); }, ErrorCode::kIo, "rank 1 on host1"));
  plan = Plan(1, 2);
  EXPECT_TRUE(Throws([&] { Watch(plan, "1 secret 127.0.0.1 "); }, ErrorCode::kIo,
                     "reaches rank 0 on host0 by none of its addresses (127.0.0.1 port 1)"));
}

TEST(Patience, IsLateOnceAndOnlyWhileItLives) {
  std::atomic<int> calls = 0;
  {
    const Patience patience(milliseconds(1), [&] { ++calls; });
    while (calls == 0) std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ(calls, 1);
  {
    const Patience patience(milliseconds(60'000), [&] { ++calls; });
  }
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace longspan
