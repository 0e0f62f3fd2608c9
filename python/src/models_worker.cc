#include "models_worker.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <exception>
#include <mutex>
#include <vector>

#include "call.h"
#include "longspan/error.h"

namespace nb = nanobind;

namespace longspan::python {

namespace detail {

// What the two threads of a call share.
struct Shared {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;                             // the work has ended
  const std::function<void()>* asked = nullptr;  // what the caller is to run
  bool refused = false;                          // it raised
  std::atomic<bool> stopping = false;            // as Caller::stopping
  std::atomic<bool> can_save = false;            // as Caller::CanSave
  std::shared_ptr<std::atomic<bool>> cancel;     // what the context looks at
};

}  // namespace detail

using detail::Shared;

// A call on its way. The caller and the worker own it together: the caller may leave first.
class Job {
 public:
  int threads = 1;
  std::size_t memory_limit = 0;
  bool progress = false;
  std::function<void(Context&, const Caller&)> work;
  std::function<void(idx_t, idx_t)> tell;  // on the calling thread, with the GIL
  Shared shared;
  std::exception_ptr error;

  // On the worker's thread.
  void Run() {
    Context& context = OwnContext(threads);
    const Caller caller(&shared);
    context.LimitMemory(memory_limit);
    context.CancelWhen(shared.cancel.get());
    if (progress) {
      context.OnProgress([&](idx_t done, idx_t all) { caller.Ask([&] { tell(done, all); }); });
    }
    try {
      work(context, caller);
    } catch (...) {
      error = std::current_exception();
    }
    context.OnProgress({});
    context.CancelWhen(nullptr);
    context.LimitMemory(0);
    work = {};
  }
};

namespace {

// Workers that wait for a next call, at most. One that ends takes its OpenMP threads with it.
constexpr std::size_t kMostIdle = 16;
// Signals are looked for this often while a call runs.
constexpr std::chrono::milliseconds kLook{20};
// Of a worker: what the main thread has as a rule. The library asks for 512 KiB.
constexpr std::size_t kStackBytes = std::size_t{8} << 20;

struct Worker;

// All workers of the process. Never destroyed: threads that wait for work may outlive main().
struct Workers {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<Worker*> idle;
  int busy = 0;
};

std::atomic<Workers*> workers = new Workers;

struct Worker {
  Workers* home = nullptr;
  std::mutex mutex;
  std::condition_variable changed;
  std::shared_ptr<Job> job;

  void Give(std::shared_ptr<Job> next) {
    const std::lock_guard lock(mutex);
    job = std::move(next);
    changed.notify_one();
  }

  std::shared_ptr<Job> Take() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return job != nullptr; });
    return std::move(job);
  }

  // True: it waits for a next call, which may be given to it from now on.
  bool Rest() {
    const std::lock_guard lock(home->mutex);
    --home->busy;
    home->changed.notify_all();
    if (home->idle.size() >= kMostIdle) return false;
    home->idle.push_back(this);
    return true;
  }

  void Work() {
    for (bool more = true; more;) {
      const std::shared_ptr<Job> current = Take();
      current->Run();
      more = Rest();
      const std::lock_guard lock(current->shared.mutex);
      current->shared.done = true;
      current->shared.changed.notify_one();
    }
    delete this;
  }
};

extern "C" void* WorkerMain(void* worker) {
  static_cast<Worker*>(worker)->Work();
  return nullptr;
}

// Starts the worker's thread. Signals that a fault of the thread itself raises stay with it; it has
// all others blocked from its first instruction on.
void StartThread(Worker* worker) {
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
    sigdelset(&blocked, own);
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  pthread_t thread;
  const int failed = pthread_create(&thread, &attributes, WorkerMain, worker);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (failed != 0) {
    throw Error(
        ErrorCode::kLimit,
        "the system gives no thread to compute on; raise the limit of processes (ulimit -u)");
  }
}

void Start(const std::shared_ptr<Job>& job) {
  Workers* const home = workers;
  Worker* worker = nullptr;
  {
    const std::lock_guard lock(home->mutex);
    ++home->busy;
    if (!home->idle.empty()) {
      worker = home->idle.back();
      home->idle.pop_back();
    }
  }
  if (worker != nullptr) return worker->Give(job);
  auto made = std::make_unique<Worker>();
  made->home = home;
  made->job = job;
  try {
    StartThread(made.get());
    static_cast<void>(made.release());  // its thread deletes it
  } catch (...) {
    const std::lock_guard lock(home->mutex);
    --home->busy;
    throw;
  }
}

// A forked child has no workers, and the parent's locks may be held by nobody.
void ForgetWorkers() { workers = new Workers; }
const int fork_handler = pthread_atfork(nullptr, nullptr, ForgetWorkers);

// The calling thread's part of a call. The GIL is held but for the waiting itself.
class Waiting {
 public:
  Waiting(Job& job, Interrupts interrupts) : job_(job), interrupts_(interrupts) {}

  // Until the work has ended, or is left to itself.
  void Wait() {
    while (!AwaitChange()) {
      if (PyErr_CheckSignals() == 0) continue;
      Stop(std::make_exception_ptr(nb::python_error()));
      if (interrupts_ == Interrupts::kAbandon) break;
    }
    if (raised_) std::rethrow_exception(raised_);
    // The last waiting may have missed a signal that came as the work ended.
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
  }

 private:
  // Waits a while, and answers what is asked. True: the work has ended.
  bool AwaitChange() {
    const std::function<void()>* asked = nullptr;
    {
      const nb::gil_scoped_release release;
      std::unique_lock lock(job_.shared.mutex);
      job_.shared.changed.wait_for(
          lock, kLook, [&] { return job_.shared.done || job_.shared.asked != nullptr; });
      if (job_.shared.done) return true;
      asked = job_.shared.asked;
    }
    if (asked != nullptr) Answer(*asked);
    return false;
  }

  void Answer(const std::function<void()>& asked) {
    bool refused = raised_ != nullptr;
    try {
      if (!refused) asked();
    } catch (...) {
      Stop(std::current_exception());
      refused = true;
    }
    const std::lock_guard lock(job_.shared.mutex);
    job_.shared.refused = refused;
    job_.shared.asked = nullptr;
    job_.shared.changed.notify_all();
  }

  // The first exception is the call's.
  void Stop(std::exception_ptr why) {
    const bool first = raised_ == nullptr;
    if (first) raised_ = std::move(why);
    job_.shared.stopping = true;
    if (!first || !job_.shared.can_save) job_.shared.cancel->store(true);
  }

  Job& job_;
  const Interrupts interrupts_;
  std::exception_ptr raised_;
};

}  // namespace

bool Caller::Ask(const std::function<void()>& ask) const {
  std::unique_lock lock(shared_->mutex);
  shared_->asked = &ask;
  shared_->changed.notify_all();
  shared_->changed.wait(lock, [&] { return shared_->asked == nullptr; });
  return !shared_->refused;
}

bool Caller::stopping() const { return shared_->stopping; }

void Caller::CanSave() const { shared_->can_save = true; }

void RunJob(const CallOptions& options, Interrupts interrupts,
            std::function<void(Context&, const Caller&)> work) {
  const auto job = std::make_shared<Job>();
  // Checks the number, and warns in a forked child; a worker's own context has the same.
  job->threads = OwnContext(options.threads).threads();
  job->memory_limit = options.memory_limit;
  job->shared.cancel = options.cancel ? options.cancel : std::make_shared<std::atomic<bool>>(false);
  job->work = std::move(work);
  job->progress = !options.progress.is_none();
  job->tell = [progress = options.progress.ptr()](idx_t done, idx_t all) {
    const nb::handle callable(progress);
    callable(done, all);
  };
  Start(job);
  Waiting(*job, interrupts).Wait();
  if (job->error) std::rethrow_exception(job->error);
}

void WaitForWorkers(double seconds) {
  Workers* const home = workers;
  std::unique_lock lock(home->mutex);
  home->changed.wait_for(lock, std::chrono::duration<double>(seconds),
                         [&] { return home->busy == 0; });
}

}  // namespace longspan::python
