// How a function of Python calls the library: which threads it uses, that other threads of Python
// go on meanwhile, and that Ctrl-C ends it.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <csignal>
#include <functional>

#include "longspan/context.h"
#include "longspan/error.h"

namespace longspan::python {

// The threads of calls that name no number: 0 for LONGSPAN_THREADS or the CPUs of this process.
// UsageError outside of 0 to the library's most, and for more than 1 in a forked child.
void SetThreads(int threads);
int Threads();

// Called in a child after a fork: from now on every call uses one thread, since OpenMP's threads,
// ours or torch's, are gone and their runtime would wait for them forever.
void AfterFork();

// The calling thread's context of so many threads (0: Threads()). It lives as long as the thread.
// A context of one thread and one of several stay, so that small calls between large ones are free.
Context& OwnContext(int threads);

// While it lives, Ctrl-C sets the flag that the context looks at, so that the call ends within
// milliseconds. It acts on Python's main thread alone, and only while Ctrl-C means
// KeyboardInterrupt: a handler of the program's own runs after the call, as ever. Needs the GIL in
// both ends.
class Interruptible {
 public:
  explicit Interruptible(Context& context);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  // Raises KeyboardInterrupt if the signal came.
  void Check() const;

 private:
  Context& context_;
  bool active_ = false;
  struct sigaction before_ {};
};

// Runs `work` with the GIL released. `operations` (about one multiply-add each) decides about what
// small calls need not pay: below 2^19 one thread does the work, below 2^26 nothing looks for
// Ctrl-C. Results do not depend on it.
template <class Work>
void Run(int threads, double operations, Work&& work) {
  Context& context = OwnContext(operations < 524288.0 ? 1 : threads);
  if (operations < 67108864.0) {
    const nanobind::gil_scoped_release release;
    work(context);
    return;
  }
  const Interruptible interruptible(context);
  try {
    const nanobind::gil_scoped_release release;
    work(context);
  } catch (const Cancelled&) {
    interruptible.Check();
    throw;
  }
}

}  // namespace longspan::python
