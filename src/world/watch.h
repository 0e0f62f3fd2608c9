// Who of the ranks is still there. Each rank has a TCP connection to rank 0 beside MPI's own: MPI
// cannot say that a process has died, and a closed connection says so at once.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "longspan/error.h"
#include "longspan/types.h"

namespace longspan {

// What the ranks tell the watch of each other at the start.
struct WatchPlan {
  int rank = 0;
  std::vector<std::string> hosts;  // by rank, for messages
  std::chrono::milliseconds beat{1000}, silence{20'000}, missed{20'000}, connect{60'000};
};

// A thread of its own sends a sign of life each `beat`, and takes those of the others: rank 0's of
// all ranks, the others' of rank 0. A rank fails if its connection closes without a word, if it is
// silent for `silence`, if it says so (Abandon), or if it has come to its end (ComeToEnd) and some
// rank has waited for it since, for `missed`. Rank 0 passes that on. The thread computes nothing.
class Watch {
 public:
  // Rank 0 listens. address() is what the other ranks need; it holds a secret of this run.
  // kIo.
  class Door {
   public:
    Door();
    ~Door();
    Door(const Door&) = delete;
    Door& operator=(const Door&) = delete;
    const std::string& address() const { return address_; }

   private:
    friend class Watch;
    int socket_ = -1;
    std::string secret_, address_;
  };

  // Rank 0: waits for the others. kIo if one does not come in time.
  Watch(const WatchPlan& plan, const Door& door);
  // The others. kIo if rank 0 cannot be reached.
  Watch(const WatchPlan& plan, const std::string& address);
  // Without Finish the others learn that this rank is gone.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // As in Transport.
  void Tell(idx_t step) { step_ = step; }
  void Abandon(const std::string& why, ErrorCode code) noexcept;
  void ComeToEnd();
  bool all_at_end() const { return all_at_end_; }
  // A message to or from another rank is on its way from now on, or no longer. Any thread.
  void Expect(int rank, bool on);
  void OnFailure(const std::function<void(const std::string& line)>& tell);
  // After Abandon too: what rank 0 has said since then.
  std::string Failure() const;
  ErrorCode FailureCode() const;
  bool failed() const { return failed_; }
  void Finish();

 private:
  struct State;
  void Begin();
  void Run();
  // On the thread. The line goes to all but `except`, if this is rank 0.
  void Lose(int rank, ErrorCode code, const std::string& how, int except);
  void LoseAs(ErrorCode code, const std::string& line, int except);
  void MarkAtEnd(int rank);
  void FindMissed();
  void Drain();

  std::unique_ptr<State> state_;
  std::atomic<idx_t> step_ = 0;
  std::atomic<bool> failed_ = false, all_at_end_ = false;
};

}  // namespace longspan
