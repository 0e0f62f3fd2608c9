#include "call.h"

#include <memory>

#include "errors.h"
#include "longspan/error.h"

namespace nb = nanobind;

namespace longspan::python {
namespace {

std::atomic<int> wanted_threads = 0;
std::atomic<bool> forked = false;

// Set by the handler of SIGINT while an Interruptible lives; there is one main thread.
std::atomic<bool> interrupted = false;
struct sigaction pythons_handler {};

extern "C" void OnInterrupt(int signal) {
  interrupted.store(true, std::memory_order_relaxed);
  pythons_handler.sa_handler(signal);  // Python remembers it until the call has ended
}

// The contexts of a thread.
struct Own {
  std::unique_ptr<Context> one, several;
  int number = 0;  // threads of `several`, as they were asked for
};
thread_local Own own;

void WarnOfFork() {
  static std::atomic<bool> told = false;
  if (told.exchange(true)) return;
  if (PyErr_WarnEx(PyExc_RuntimeWarning,
                   "longspan uses one thread in a forked process: libgomp's threads do not survive "
                   "a fork; LONGSPAN_THREADS=1 or longspan.set_threads(1) in the child says so "
                   "without this warning, 'spawn' instead of 'fork' has all threads",
                   1) != 0) {
    throw nb::python_error();
  }
}

// Whether Ctrl-C on this thread raises KeyboardInterrupt.
bool InterruptRaises() {
  const nb::module_ threading = nb::module_::import_("threading");
  if (!threading.attr("current_thread")().is(threading.attr("main_thread")())) return false;
  const nb::module_ signal = nb::module_::import_("signal");
  const nb::object handler = signal.attr("getsignal")(signal.attr("SIGINT"));
  return handler.is(signal.attr("default_int_handler"));
}

}  // namespace

void SetThreads(int threads) {
  if (forked && threads > 1) {
    FailValue(
        "set_threads: this process was forked, and a child has none of its parent's threads; use "
        "one thread, or start processes by 'spawn'");
  }
  if (threads != 0) Context check(threads);  // throws for a number that cannot be
  wanted_threads = threads;
}

int Threads() { return forked ? 1 : wanted_threads.load(); }

void AfterFork() {
  forked = true;
  wanted_threads = 0;
}

Context& OwnContext(int threads) {
  if (threads == 0) threads = wanted_threads;
  if (forked && threads != 1) {
    WarnOfFork();
    threads = 1;
  }
  if (threads == 1) {
    if (!own.one) own.one = std::make_unique<Context>(1);
    return *own.one;
  }
  if (!own.several || own.number != threads) {
    own.several = std::make_unique<Context>(threads);
    own.number = threads;
  }
  return *own.several;
}

Interruptible::Interruptible(Context& context) : context_(context) {
  if (!InterruptRaises()) return;
  if (sigaction(SIGINT, nullptr, &before_) != 0 || (before_.sa_flags & SA_SIGINFO) != 0 ||
      before_.sa_handler == SIG_DFL || before_.sa_handler == SIG_IGN ||
      before_.sa_handler == OnInterrupt) {
    return;
  }
  interrupted = false;
  pythons_handler = before_;
  struct sigaction mine = before_;  // with its mask and flags: SA_ONSTACK among them
  mine.sa_handler = OnInterrupt;
  if (sigaction(SIGINT, &mine, nullptr) != 0) return;
  context.CancelWhen(&interrupted);
  active_ = true;
}

Interruptible::~Interruptible() {
  if (!active_) return;
  sigaction(SIGINT, &before_, nullptr);
  context_.CancelWhen(nullptr);
}

void Interruptible::Check() const {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

}  // namespace longspan::python
