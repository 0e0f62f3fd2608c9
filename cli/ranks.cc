#include "cli/ranks.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "cli/check.h"

namespace longspan::cli {
namespace {

using std::chrono::milliseconds;

// The thread that trains and waits for others ends the process by itself within this time. mpirun
// kills what is left a second after a rank has died.
constexpr milliseconds kForTheTrainer{200};
// A mistake that all ranks find is told by rank 0.
constexpr milliseconds kForRankZero{300};

// Rank 0 may begin later than the others.
constexpr milliseconds kForTheReason{2000};

void (*end_on_failure)(const char* line) = nullptr;
std::atomic<bool> has_failed = false, saves = true;

// It lives as long as the process: its thread and MPI's do.
World* started = nullptr;
std::atomic<bool> ranks_failed = false, ended = false;

void End(const std::string& line) {
  std::this_thread::sleep_for(kForTheTrainer);
  if (!ended && end_on_failure != nullptr) end_on_failure(line.c_str());
}

void OnFailure(const std::string& line) {
  ranks_failed = true;
  try {
    std::thread(End, line).detach();
  } catch (const std::system_error&) {  // no thread is to be had
    End(line);
  }
}

// mpirun, and srun -K, kill the others when one of them ends so, and this one has nothing to say of
// that.
void LeaveReasonToRankZero() {
  has_failed = true;
  std::this_thread::sleep_for(kForTheReason);
}

}  // namespace

World& StartRanks() {
  if (started == nullptr) {
    started = new World(World::Start());
    started->OnFailure(OnFailure);
  }
  return *started;
}

int RankThreads(int asked) {
  const World& world = StartRanks();
  const bool is_set = asked > 0 || std::getenv("LONGSPAN_THREADS") != nullptr;
  return is_set || world.size() == 1 ? asked : world.threads();
}

Context RankContext(const Globals& globals) {
  World& world = StartRanks();
  Context context(RankThreads(globals.threads));
  if (world.size() > 1) context.Join(&world);
  return context;
}

int RefuseRanks(const std::string& command) {
  constexpr int kUsageStatus = static_cast<int>(ErrorCode::kUsage);
  if (World::LaunchedRank() > 0) {
    LeaveReasonToRankZero();
    return kUsageStatus;
  }
  const int ranks = World::LaunchedRanks();
  Fail(ErrorCode::kUsage,
       "{}: mpirun or srun has started it {}, and it knows no ranks: each would do all of it and "
       "write the same; start it alone, or set LONGSPAN_MPI=0",
       command, ranks > 1 ? fmt::format("{} times", ranks) : "several times");
}

bool Speaks() { return started == nullptr || started->is_first(); }

std::string RankPrefix() {
  if (started == nullptr || started->size() == 1) return {};
  const int rank = started->rank();
  return fmt::format("rank {} on {}: ", rank, started->hosts()[static_cast<std::size_t>(rank)]);
}

void FinishRanks() {
  if (started == nullptr) return;
  started->Finish();
  ended = true;
}

bool PeerFailed() { return ranks_failed; }

ErrorCode PeerStatus() { return started == nullptr ? ErrorCode::kPeer : started->FailureCode(); }

bool TellRanks(ErrorCode code, const std::string& message) noexcept {
  if (started == nullptr && World::StartedApart() && World::LaunchedRank() > 0) {
    LeaveReasonToRankZero();
    return false;
  }
  if (started == nullptr || started->size() == 1) return true;
  ended = true;
  has_failed = true;
  started->Abandon(message, code);
  if (started->is_first()) return true;
  if (started->finished()) {                    // all have found it together
    std::this_thread::sleep_for(kForRankZero);  // mpirun kills it when this one ends
    return false;
  }
  for (milliseconds waited{0}; waited < kForRankZero; waited += milliseconds(10)) {
    if (started->Failure().ends_with(message)) return false;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return true;
}

void NothingIsSaved() { saves = false; }

const char* AfterPeer() {
  const ErrorCode status = PeerStatus();
  const bool goes_on = saves && status != ErrorCode::kUsage && status != ErrorCode::kFormat;
  return goes_on ? "; all ranks end, and --resume goes on from what is saved" : "; all ranks end";
}

void EndOnPeerFailure(void (*end)(const char* line)) { end_on_failure = end; }

bool MustLeaveAtOnce() { return has_failed || ranks_failed; }

}  // namespace longspan::cli
