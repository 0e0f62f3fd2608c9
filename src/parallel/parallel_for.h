// The one place where threads start.
#pragma once

#include <exception>

#include "longspan/context.h"

namespace longspan {

// Calls body(task, thread) once for every task in [0, tasks). The tasks are fixed by the problem,
// never by the number of threads, and no task depends on another: which thread runs a task cannot
// change a bit of the result. `thread` < context.threads() picks per-thread scratch.
// Called from inside another ParallelFor it runs on the calling thread, as thread 0 of its own.
// The first exception that a task throws is thrown again here, when the tasks that had begun have
// ended; those that had not are left out. Once the context's flag is set, tasks that have not begun
// are left out, and Cancelled is thrown. In a rehearsal no task runs. Where the system gives fewer
// threads, fewer run; team.h has what is thrown when none can.
template <class Body>
void ParallelFor(const Context& context, idx_t tasks, Body&& body);

}  // namespace longspan

#include "parallel/parallel_for_impl.h"
