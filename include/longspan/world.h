// Processes that train together, as mpirun starts them: each has a rank, and all have one result.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "longspan/error.h"
#include "longspan/types.h"

namespace longspan {
class Transport;  // the library's own: no header has them
struct WorldAccess;
}  // namespace longspan

#pragma GCC visibility push(default)
namespace longspan {

// What ranks exchange. Each kind is counted by itself.
enum class ExchangeKind {
  kGradients,  // on their way to the ranks that add them
  kWeights,    // updated ones, on their way to all other ranks
  kHalos,      // of shared rows: borders of windows and of chunks
  kHeads,      // of shared rows: heads of attention
  kGlobals,    // of shared rows: what windows and queries of global tokens need
  kRows,       // of shared rows: all else, as losses, vectors of texts and hidden states
  kTogether,  // World's calls of all ranks: losses, the gradient's norm, what all agree on; and the
              // state for checkpoints
};
inline constexpr std::size_t kExchangeKinds = 7;
// "gradients", "weights", "halos", "heads", "globals", "rows" or "together".
std::string_view NameOf(ExchangeKind kind);

// What one rank has exchanged of a kind.
struct ExchangeCount {
  double waited_s = 0.0;    // seconds that the thread which computes waited for it
  std::uint64_t bytes = 0;  // that this rank has sent
};
// By kind.
using ExchangeCounts = std::array<ExchangeCount, kExchangeKinds>;
// What was counted since `before`, an earlier state of the same counts.
ExchangeCounts CountsSince(const ExchangeCounts& now, const ExchangeCounts& before);

// The ranks of one run, of which this process is one. A Context that joins a world
// (Context::Join) trains and evaluates with it: train.h has what each rank does.
//
// A world serves one thread at a time, the one that started it. Calls of all ranks marked
// "together" are made by every rank, in the same order and with the same sizes; they wait for each
// other.
//
// Errors: while such a call waits, kPeer is thrown when another rank has died, is silent for 20 s,
// gave up (Abandon), or has come to its end (Finish) 20 s ago. The message is one line that names
// the rank, its host and its update, and FailureCode() is the kind of what made it give up. From
// then on every such call throws it. The world is never used again.
class World {
 public:
  // One process, rank 0 of 1. Its calls do nothing and never fail.
  World();
  explicit World(std::unique_ptr<Transport> transport);  // the library's own
  ~World();  // without Finish the other ranks learn that this one is gone
  World(World&&) noexcept;
  World& operator=(World&&) noexcept;

  // How many processes mpirun or srun has started together with this one, as the environment says;
  // 1: it was started alone, or LONGSPAN_MPI is 0; 0: with others, and it does not say how many.
  static int LaunchedRanks();
  // Which of them this process is, as the environment says; 0 if it was started alone or if nothing
  // says it.
  static int LaunchedRank();
  // Whether Start has refused this process because the processes that were started together do not
  // see each other. Each of them finds that, so it is enough if rank LaunchedRank() 0 tells it.
  static bool StartedApart();
  // The world of the processes that were started together; of one process if it was started alone.
  // Loads longspan_mpi.so, which lies beside the program or the library, or where
  // LONGSPAN_MPI_MODULE says. Together. kUsage if the module is missing, if it cannot start MPI, or
  // if the processes do not see each other: the launcher is of another MPI than the module, or srun
  // was not told --mpi=pmix. They would all do the same work and write to the same files.
  static World Start();
  // Where Start would find the module; empty: nowhere.
  static std::string ModulePath();

  int rank() const;                              // from 0; rank 0 writes files and tells
  int size() const;                              // how many ranks there are
  bool is_first() const { return rank() == 0; }  // whether this is rank 0
  // Each rank's host.
  const std::vector<std::string>& hosts() const;
  int ranks_here() const;  // on the host of this process
  // Threads for a Context of this rank: its share of the CPUs of its host. A CPU that several ranks
  // may use counts for each as a part of one. At least 1.
  int threads() const;
  // CPUs of this host that none of its ranks may use, because the launcher binds ranks to CPUs.
  int idle_cpus() const;
  // "Open MPI v4.1.4"; empty for one process.
  const std::string& transport() const;

  // ---- together

  // Waits until all ranks have come here.
  void Barrier();
  // Every rank's text, by rank.
  std::vector<std::string> Gather(const std::string& text);
  // Sums of each value over the ranks, added in their order: the same bits everywhere.
  void Sum(std::span<double> values);
  // The memory of rank `from` is copied to all others.
  void Broadcast(void* data, std::size_t bytes, int from = 0);
  std::string Broadcast(const std::string& text, int from = 0);
  // The run is over: nobody misses this rank afterwards. Another rank that is not at its end and
  // waits for this one gets kPeer within 30 s.
  void Finish();

  // ---- failures

  // The update that this rank has done, for messages about it.
  void Tell(idx_t step);
  // This rank gives up, for this reason (one line) of this kind: the others get kPeer. Does not
  // wait for them.
  void Abandon(const std::string& why, ErrorCode code = ErrorCode::kPeer) noexcept;
  // `tell` gets the line about a failed rank as soon as it is known, on a thread of the world's
  // own, and returns at once. A program ends its process then, whatever the thread that trains
  // waits for. It is called once at most, and after Finish never; in Finish if MPI's own end takes
  // more than 20 s.
  void OnFailure(std::function<void(const std::string& line)> tell);
  // The line; empty: all is well.
  std::string Failure() const;
  // The kind that the rank of that line gave to Abandon; kPeer: it died or fell silent, or all is
  // well.
  ErrorCode FailureCode() const;
  // Whether Finish was called: what ends this rank from now on is nobody's business, or known to
  // all.
  bool finished() const;

  // ---- figures

  // What this rank has exchanged since it started: zeros for one process. It costs a call.
  const ExchangeCounts& exchanged() const;
  std::uint64_t bytes_sent() const;  // by this rank, of all kinds
  double seconds_waited() const;     // in calls of this world, of all kinds

 private:
  friend struct WorldAccess;
  struct State;
  std::unique_ptr<State> state_;  // null: one process
};

}  // namespace longspan
#pragma GCC visibility pop
