#include "parallel/team.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/errors.h"
#include "parallel/task_shares.h"

namespace longspan {
namespace {

// What must be left of the address space when all threads are there, for the runtime's own tables
// and for what the work allocates at least.
constexpr std::size_t kRoom = std::size_t{16} << 20;

std::atomic<void (*)(const char*)> tell_warning = nullptr;

// Threads of the calling thread's last region: libgomp keeps them for its next one and lets go of
// those that it does not need.
constexpr int kLost = -1;  // by fork()
thread_local int last_team = 0;

void AfterFork() {
  if (last_team > 1) last_team = kLost;
}

// The stacks that libgomp gives its threads, when a variable names them: kibibytes, or a number
// with a unit. What libgomp cannot read it does not use.
std::optional<std::size_t> StackFromEnvironment() {
  for (const char* name : {"OMP_STACKSIZE", "GOMP_STACKSIZE"}) {
    const char* text = std::getenv(name);
    if (text == nullptr) continue;
    while (*text == ' ' || *text == '\t') ++text;
    std::size_t value = 0;
    auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
    if (error != std::errc()) continue;
    while (*end == ' ' || *end == '\t') ++end;
    int shift = 10;
    if (*end == 'b' || *end == 'B') shift = 0;
    if (*end == 'm' || *end == 'M') shift = 20;
    if (*end == 'g' || *end == 'G') shift = 30;
    if (value > (std::size_t{1} << 40 >> shift)) continue;
    return value << shift;
  }
  return std::nullopt;
}

// Attributes of the threads that libgomp would start.
class Attributes {
 public:
  Attributes() {
    pthread_attr_init(&attributes_);
    if (const auto named = StackFromEnvironment()) {
      if (pthread_attr_setstacksize(&attributes_, *named) == 0) stack_ = *named;
    }
    if (stack_ == 0) {  // the process' default
      pthread_attr_t process;
      if (pthread_getattr_default_np(&process) == 0) {
        pthread_attr_getstacksize(&process, &stack_);
        pthread_attr_destroy(&process);
      }
    }
  }
  ~Attributes() { pthread_attr_destroy(&attributes_); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;

  std::size_t stack() const { return stack_; }
  const pthread_attr_t* get() const { return &attributes_; }

 private:
  pthread_attr_t attributes_;
  std::size_t stack_ = 0;
};

void* WaitAtGate(void* gate) {
  static_cast<std::atomic<bool>*>(gate)->wait(false);
  return nullptr;
}

// Whether there is room for what comes behind the threads.
bool HasRoom() {
  void* room = mmap(nullptr, kRoom, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return false;
  munmap(room, kRoom);
  return true;
}

// How many of `wanted` more threads can be had at once, and in `error` why not all: they are
// started and ended again. Nothing that is read of limits says it as surely: a user's other
// processes count, so do control groups, and each thread takes a stack.
int ThreadsToBeHad(int wanted, const Attributes& attributes, int* error) {
  // No handler of the caller's may run on them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::atomic<bool> gate = false;
  std::array<pthread_t, kMostThreads> threads;
  int count = 0;
  *error = 0;
  while (count < wanted && *error == 0) {
    *error =
        HasRoom() ? pthread_create(&threads[count], attributes.get(), WaitAtGate, &gate) : ENOMEM;
    if (*error == 0) ++count;
  }
  gate = true;
  gate.notify_all();
  for (int i = 0; i < count; ++i) pthread_join(threads[i], nullptr);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return count;
}

// Bytes of stack below the caller's frame; of the process' first thread those that it may have.
std::size_t OwnStack() {
  if (getpid() == gettid()) {
    struct rlimit limit {};
    return getrlimit(RLIMIT_STACK, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
  }
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return RLIM_INFINITY;
  void* base = nullptr;
  std::size_t size = 0;
  pthread_attr_getstack(&attributes, &base, &size);
  pthread_attr_destroy(&attributes);
  return static_cast<std::size_t>(static_cast<std::byte*>(__builtin_frame_address(0)) -
                                  static_cast<std::byte*>(base));
}

// A team of `wanted` threads where a smaller one was before: how many of them it may have.
int Grow(int wanted, std::string* warning) {
  const std::size_t own = OwnStack();
  Check(own >= kLeastStack, ErrorCode::kLimit,
        "threads: the calling thread has {} bytes of stack, {} are needed (ulimit -s, or the size "
        "that it was started with)",
        own, kLeastStack);
  const Attributes attributes;
  if (attributes.stack() < kLeastStack) {
    *warning = fmt::format(
        "threads: 1 instead of {}: OMP_STACKSIZE or ulimit -s gives them {} bytes of stack, {} are "
        "needed",
        wanted, attributes.stack(), kLeastStack);
    return 1;
  }
  int error = 0;
  const int before = std::max(last_team, 1);
  const int count = before + ThreadsToBeHad(wanted - before, attributes, &error);
  if (count < wanted) {
    *warning = fmt::format(
        "threads: {} instead of {}: the system gives no more ({}); see ulimit -u, ulimit -v, "
        "ulimit -s and the control group's pids.max",
        count, wanted, std::strerror(error));
  }
  return count;
}

}  // namespace

// What a Context lets this file alone change.
struct ContextAccess {
  static int TeamThreads(const Context& context);
  static const std::atomic<bool>* CancelFlag(const Context& context) { return context.cancel_; }
};

const std::atomic<bool>* CancelFlagOf(const Context& context) {
  return ContextAccess::CancelFlag(context);
}

int TeamThreads(const Context& context) { return ContextAccess::TeamThreads(context); }

int ContextAccess::TeamThreads(const Context& context) {
  const int wanted = context.granted_;
  if (wanted == 1) return 1;
  if (last_team >= wanted) {
    last_team = wanted;
    return wanted;
  }
  Check(last_team != kLost, ErrorCode::kUsage,
        "threads: this process was forked by a thread that had used several, and a child has none "
        "of them; fork before the first operation, use one thread, or start a program");
  static const int registered = pthread_atfork(nullptr, nullptr, AfterFork);
  (void)registered;
  std::string warning;
  const int granted = Grow(wanted, &warning);
  if (!warning.empty()) {
    context.granted_ = granted;
    context.warning_ = std::move(warning);
    if (const auto tell = tell_warning.load()) tell(context.warning_.c_str());
  }
  if (granted > 1) last_team = granted;
  return granted;
}

void TellThreadWarnings(void (*tell)(const char*)) { tell_warning = tell; }

}  // namespace longspan
