// Where calls of models run: on threads of their own, while the thread of Python that made the call
// waits, answers signals and runs the call's callbacks.
//
// No handler of a signal may run on a thread that multiplies matrices: oneDNN's generated code uses
// the stack pointer as a register in some products, and a handler's frame would overwrite the heap
// (docs/reference/environment.md). So the threads here block all signals, and those that OpenMP
// starts for them inherit that. The calling thread computes nothing. It can therefore raise
// KeyboardInterrupt, and run any handler that Python has, in the middle of a call.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "longspan/context.h"

namespace longspan::python {

// A flag that ends calls from any thread: longspan._models.CancelFlag.
struct CancelFlag {
  std::shared_ptr<std::atomic<bool>> set = std::make_shared<std::atomic<bool>>(false);
};

// How a call runs, as Python passes it.
struct CallOptions {
  int threads = 0;                            // 0: longspan.set_threads, LONGSPAN_THREADS, or CPUs
  std::size_t memory_limit = 0;               // bytes, Context::LimitMemory; 0: none
  std::shared_ptr<std::atomic<bool>> cancel;  // ends the call; null: nobody else does
  nanobind::object progress = nanobind::none();  // progress(done, all), or None
};

class Job;
namespace detail {
struct Shared;
}

// What a call asks of the thread that made it. Used on the thread that computes.
class Caller {
 public:
  // Runs `ask` on the calling thread, which holds the GIL, and waits for it. False: it raised, or
  // the call is to end. The exception is raised again when the call has ended.
  bool Ask(const std::function<void()>& ask) const;
  // Whether the call is to end after what it is at: Ctrl-C, or an exception of a callback.
  bool stopping() const;
  // From now on the first Ctrl-C only sets stopping(), and the second one cancels: there is
  // something to save.
  void CanSave() const;

 private:
  friend class Job;
  explicit Caller(detail::Shared* shared) : shared_(shared) {}
  detail::Shared* shared_;
};

// What a call does with an interrupt.
enum class Interrupts {
  kCancel,  // the context's flag ends it
  kAbandon  // `work` goes on alone, and what it makes is dropped: it owns all that it touches
};

// Runs `work` on a thread of its own with the GIL released, and waits. Exceptions of `work` are
// thrown here; those that came of a signal or a callback first. Needs the GIL.
void RunJob(const CallOptions& options, Interrupts interrupts,
            std::function<void(Context&, const Caller&)> work);

// The same for work that returns something.
template <class Work>
auto Compute(const CallOptions& options, Work&& work) {
  using Result = decltype(work(std::declval<Context&>()));
  std::unique_ptr<Result> result;
  RunJob(options, Interrupts::kCancel, [&](Context& context, const Caller&) {
    result = std::make_unique<Result>(work(context));
  });
  return std::move(*result);
}

// The same for work that has no context to end it. What it needs is copied into `work`.
template <class Work>
auto ComputeAlone(Work work) {
  using Result = decltype(work());
  const auto result = std::make_shared<std::unique_ptr<Result>>();
  RunJob({}, Interrupts::kAbandon, [result, work = std::move(work)](Context&, const Caller&) {
    *result = std::make_unique<Result>(work());
  });
  return std::move(**result);
}

// Waits until nothing computes any more, at most so many seconds. For the interpreter's end.
void WaitForWorkers(double seconds);

}  // namespace longspan::python
