// What ranks do together, with threads as ranks.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <new>
#include <system_error>

#include "base/error_code.h"
#include "tests/support/files.h"
#include "tests/support/thread_world.h"

namespace longspan {
namespace {

using test::OnRanks;
using test::Throws;
using test::TryOnRanks;

TEST(World, OneProcessIsRankZeroOfOne) {
  World world;
  EXPECT_EQ(world.rank(), 0);
  EXPECT_EQ(world.size(), 1);
  EXPECT_GE(world.threads(), 1);
  EXPECT_EQ(world.hosts().size(), 1u);
  EXPECT_EQ(world.Gather("a"), std::vector<std::string>{"a"});
  EXPECT_EQ(world.Broadcast("text"), "text");
  std::vector<double> values = {1.5};
  world.Sum(values);
  EXPECT_EQ(values[0], 1.5);
  world.Barrier();
  world.Finish();
  EXPECT_EQ(world.Failure(), "");
  EXPECT_EQ(world.FailureCode(), ErrorCode::kPeer);
  EXPECT_EQ(world.transport(), "");
  EXPECT_EQ(world.bytes_sent(), 0u);
  EXPECT_EQ(world.seconds_waited(), 0.0);
}

// The sizes of the texts and the texts: from the others to rank 0, and all of them back.
TEST(World, CallsTogetherCountTheBytesThatEachRankSends) {
  constexpr std::uint64_t kSize = sizeof(std::uint64_t);
  OnRanks(3, [](World& world) {
    const ExchangeCounts before = world.exchanged();
    world.Gather("four");
    const ExchangeCounts counts = CountsSince(world.exchanged(), before);
    const std::uint64_t first = 2 * (3 * kSize + 12), other = kSize + 4;
    EXPECT_EQ(counts[static_cast<std::size_t>(ExchangeKind::kTogether)].bytes,
              world.is_first() ? first : other);
    EXPECT_EQ(CountsSince(world.exchanged(), counts)[0].bytes, 0u);
    double number = 1.0;
    const std::uint64_t sent = world.bytes_sent();
    world.Broadcast(&number, sizeof(number), 1);
    EXPECT_EQ(world.bytes_sent() - sent, world.rank() == 1 ? 16u : 0u);
  });
}

TEST(World, ExceptionsHaveTheKindThatTheProgramEndsWith) {
  EXPECT_EQ(CodeOf(Error(ErrorCode::kNumeric, "loss")), ErrorCode::kNumeric);
  EXPECT_EQ(CodeOf(std::bad_alloc()), ErrorCode::kLimit);
  EXPECT_EQ(CodeOf(std::filesystem::filesystem_error("x", std::error_code())), ErrorCode::kIo);
}

class Ranks : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(World, Ranks, ::testing::Values(1, 2, 3, 4, 7));

TEST_P(Ranks, GatherGivesEachTextByRankEmptyOnesToo) {
  OnRanks(GetParam(), [&](World& world) {
    const auto texts = world.Gather(std::string(static_cast<std::size_t>(world.rank()), 'x'));
    ASSERT_EQ(std::ssize(texts), world.size());
    for (std::size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(r, 'x'));
  });
}

// 1e16 + 1 - 1e16 depends on the order.
TEST_P(Ranks, SumsAreAddedInTheOrderOfTheRanks) {
  const auto value = [](int rank) { return rank == 1 ? 1e16 : 1.0 + rank; };
  double expected = value(0);
  for (int rank = 1; rank < GetParam(); ++rank) expected += value(rank);
  OnRanks(GetParam(), [&](World& world) {
    std::vector<double> values = {value(world.rank()), 2.0};
    world.Sum(values);
    EXPECT_EQ(values[0], expected);
    EXPECT_EQ(values[1], 2.0 * world.size());
  });
}

TEST_P(Ranks, ABroadcastComesFromAnyRank) {
  OnRanks(GetParam(), [&](World& world) {
    const int last = world.size() - 1;
    const std::string text = world.rank() == last ? std::string("from the last") : std::string();
    EXPECT_EQ(world.Broadcast(text, last), "from the last");
    world.Barrier();
  });
}

TEST_P(Ranks, RanksOfOneHostShareItsCpus) {
  OnRanks(GetParam(), [&](World& world) {
    EXPECT_EQ(world.ranks_here(), world.size());
    EXPECT_EQ(world.threads(), std::max(1, World().threads() / world.size()));
  });
}

// Whichever is asked first: sums follow the order of the nodes that a rank sends.
TEST(World, MessagesOfOneTagArriveInTheOrderInWhichTheyAreWaitedFor) {
  OnRanks(2, [&](World& world) {
    const int first = 1, second = 2;
    if (world.rank() == 1) {
      WorldAccess::Send(world, ExchangeKind::kRows, 0, 7, &first, sizeof(first));
      WorldAccess::Send(world, ExchangeKind::kRows, 0, 7, &second, sizeof(second));
    }
    world.Barrier();
    if (world.rank() == 1) return;
    int a = 0, b = 0;
    const auto wait_a = WorldAccess::Receive(world, ExchangeKind::kRows, 1, 7, &a, sizeof(a));
    const auto wait_b = WorldAccess::Receive(world, ExchangeKind::kRows, 1, 7, &b, sizeof(b));
    WorldAccess::WaitUntil(world, ExchangeKind::kRows, [&] {
      const bool done = wait_b->Done();
      return wait_a->Done() && done;
    });
    EXPECT_EQ(a, first);
    EXPECT_EQ(b, second);
  });
}

TEST(World, ARankThatGivesUpEndsTheWaitingOfTheOthersWithItsReason) {
  const auto thrown = TryOnRanks(3, [](World& world) {
    world.Tell(7);
    if (world.rank() == 1) throw Error(ErrorCode::kFormat, "train.csv:3: no label");
    try {
      world.Barrier();
    } catch (const Error&) {
      EXPECT_EQ(world.FailureCode(), ErrorCode::kFormat);
      throw;
    }
  });
  for (const std::size_t rank : {0u, 2u}) {
    ASSERT_TRUE(thrown[rank]);
    EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[rank]); }, ErrorCode::kPeer,
                       "rank 1, after update 7, failed: train.csv:3: no label"));
  }
  EXPECT_TRUE(Throws([&] { std::rethrow_exception(thrown[1]); }, ErrorCode::kFormat, "no label"));
}

// Under load a rank may still meet the others when one of them has failed.
TEST(World, AFailureWhileRanksMeetIsThatOfTheFirstCall) {
  const auto post = std::make_shared<test::ThreadPost>();
  test::ThreadTransport(0, 2, post).Abandon("steps: 0", ErrorCode::kUsage);
  World world(std::make_unique<test::ThreadTransport>(1, 2, post));
  EXPECT_EQ(world.rank(), 1);
  EXPECT_EQ(world.hosts().size(), 2u);
  EXPECT_EQ(world.FailureCode(), ErrorCode::kUsage);
  EXPECT_TRUE(Throws([&] { world.Barrier(); }, ErrorCode::kPeer, "failed: steps: 0"));
}

// ---- how ranks are started ----------------------------------------------------------------------

class Launched : public ::testing::Test {
 protected:
  Launched() { Clear(); }
  ~Launched() override { Clear(); }
  static void Clear() {
    for (const char* name : {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE", "PMI_RANK",
                             "PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_PROCID",
                             "LONGSPAN_MPI", "LONGSPAN_MPI_MODULE"}) {
      unsetenv(name);
    }
  }
};

TEST_F(Launched, TheEnvironmentSaysHowManyProcessesThereAre) {
  EXPECT_EQ(World::LaunchedRanks(), 1);
  EXPECT_EQ(World::LaunchedRank(), 0);
  setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  EXPECT_EQ(World::LaunchedRanks(), 4);
  EXPECT_EQ(World::LaunchedRank(), 0);
  setenv("OMPI_COMM_WORLD_RANK", "3", 1);
  EXPECT_EQ(World::LaunchedRank(), 3);
  setenv("LONGSPAN_MPI", "0", 1);
  EXPECT_EQ(World::LaunchedRanks(), 1);
  EXPECT_EQ(World::LaunchedRank(), 0);
  Clear();
  setenv("PMI_SIZE", "3", 1);
  EXPECT_EQ(World::LaunchedRanks(), 3);
  Clear();
  setenv("PMIX_RANK", "0", 1);
  EXPECT_EQ(World::LaunchedRanks(), 0);
  setenv("SLURM_STEP_NUM_TASKS", "2", 1);
  EXPECT_EQ(World::LaunchedRanks(), 2);
  setenv("PMIX_RANK", "1", 1);
  EXPECT_EQ(World::LaunchedRank(), 1);
}

// srun --mpi=none, which is Debian's default: MPI would take each process for a run of one.
TEST_F(Launched, ProcessesOfSrunThatCannotFindEachOtherAreRefused) {
  setenv("SLURM_NTASKS", "3", 1);
  setenv("SLURM_PROCID", "0", 1);
  EXPECT_EQ(World::LaunchedRanks(), 1);  // a batch script, which runs once
  EXPECT_EQ(World::Start().size(), 1);
  setenv("SLURM_STEP_NUM_TASKS", "1", 1);
  EXPECT_EQ(World::LaunchedRanks(), 1);
  EXPECT_FALSE(World::StartedApart());
  setenv("SLURM_STEP_NUM_TASKS", "3", 1);
  setenv("SLURM_PROCID", "2", 1);
  EXPECT_EQ(World::LaunchedRanks(), 3);
  EXPECT_EQ(World::LaunchedRank(), 2);
  EXPECT_TRUE(Throws([] { World::Start(); }, ErrorCode::kUsage,
                     "srun has started 3 processes that cannot find each other"));
  EXPECT_TRUE(World::StartedApart());
  setenv("LONGSPAN_MPI", "0", 1);
  EXPECT_EQ(World::Start().size(), 1);
  // mpirun inside a job of Slurm: its daemon is a step of its own.
  Clear();
  setenv("SLURM_STEP_NUM_TASKS", "2", 1);
  setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  EXPECT_EQ(World::LaunchedRanks(), 4);
}

// Else each of them would train alone, into one folder.
TEST_F(Launched, WithoutAModuleManyProcessesAreRefused) {
  setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
  setenv("LONGSPAN_MPI_MODULE", "/nowhere/longspan_mpi.so", 1);
  EXPECT_TRUE(Throws([] { World::Start(); }, ErrorCode::kUsage, "/nowhere/longspan_mpi.so"));
  setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
  EXPECT_EQ(World::Start().size(), 1);
}

}  // namespace
}  // namespace longspan
