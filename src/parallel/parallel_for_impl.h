#pragma once

#include <omp.h>

#include <atomic>

#include "parallel/task_shares.h"
#include "parallel/team.h"

namespace longspan {

template <class Body>
void ParallelFor(const Context& context, idx_t tasks, Body&& body) {
  if (tasks <= 0 || context.rehearsal()) return;
  const bool serial = tasks == 1 || context.threads() == 1 || omp_in_parallel() != 0;
  const int threads = serial ? 1 : TeamThreads(context);
  if (threads == 1) {
    for (idx_t task = 0; task < tasks; ++task) {
      context.CheckCancelled();
      body(task, 0);
    }
    return;
  }
  std::exception_ptr error;
  std::atomic<bool> failed{false};
  TaskShares shares(tasks, threads);
#pragma omp parallel num_threads(threads)
  shares.Run(omp_get_thread_num(), [&](idx_t task) {
    if (failed.load(std::memory_order_relaxed) || context.cancelled()) return;
    try {
      body(task, omp_get_thread_num());
    } catch (...) {
#pragma omp critical(longspan_parallel_for)
      {
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
  });
  if (error) std::rethrow_exception(error);
  context.CheckCancelled();
}

}  // namespace longspan
