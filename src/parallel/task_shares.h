// The tasks of a ParallelFor as its threads take them: each its own share, then what is left of the
// others'.
//
// A share is a contiguous range, the same one whenever as many tasks are cut for as many threads:
// when the same tasks come again, phase by phase, a core finds in its caches what it left there.
// Cores need not share a cache: where they lie in different complexes of an AMD EPYC, a line that
// the other one wrote takes some 200 ns.
#pragma once

#include <atomic>

#include "longspan/types.h"

namespace longspan {

inline constexpr int kMostThreads = 1024;

class TaskShares {
 public:
  // 1 <= threads <= kMostThreads
  TaskShares(idx_t tasks, int threads) : threads_(threads) {
    const idx_t whole = tasks / threads, more = tasks % threads;  // the first ones have one more
    idx_t begin = 0;
    for (int i = 0; i < threads; ++i) {
      const idx_t end = begin + whole + (i < more ? 1 : 0);
      shares_[i] = {begin, end};
      begin = end;
    }
  }

  // Calls body(task) for the tasks that fall to `thread`, until all are taken. Several threads run
  // at once; each task is run once. What tasks wrote is for the caller to make visible.
  template <class Body>
  void Run(int thread, const Body& body) {
    for (int i = 0; i < threads_; ++i) {
      Share& share = shares_[(thread + i) % threads_];
      std::atomic_ref next(share.next);
      if (next.load(std::memory_order_relaxed) >= share.end) continue;
      for (idx_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < share.end;) {
        body(task);
      }
    }
  }

 private:
  // A line of the cache each.
  struct alignas(64) Share {
    idx_t next, end;
  };
  int threads_;
  Share shares_[kMostThreads];  // the first `threads_` of them are set
};

}  // namespace longspan
