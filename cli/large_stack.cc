#include "cli/large_stack.h"

#include <pthread.h>
#include <sys/resource.h>

#include <cstring>

#include "cli/check.h"

namespace longspan::cli {
namespace {

constexpr std::size_t kLeast = std::size_t{1} << 20;
constexpr std::size_t kWanted = std::size_t{8} << 20;  // what systems give a first thread

struct Call {
  int (*work)(int, char**);
  int argc;
  char** argv;
  int result = 0;
};

void* Run(void* memory) {
  Call& call = *static_cast<Call*>(memory);
  call.result = call.work(call.argc, call.argv);
  return nullptr;
}

}  // namespace

void RaiseThreadStacks() {
  pthread_attr_t attributes;
  std::size_t size = 0;
  if (pthread_getattr_default_np(&attributes) != 0) return;
  // Refused or not: the library looks at what threads get before it starts some.
  if (pthread_attr_getstacksize(&attributes, &size) == 0 && size < kLeast &&
      pthread_attr_setstacksize(&attributes, kWanted) == 0) {
    pthread_setattr_default_np(&attributes);
  }
  pthread_attr_destroy(&attributes);
}

int RunOnLargeStack(int (*work)(int, char**), int argc, char** argv) {
  struct rlimit limit {};
  if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= kLeast) return work(argc, argv);
  Call call{work, argc, argv};
  int error = 0;
  for (std::size_t size = kWanted; size >= kLeast; size /= 2) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, size);
    pthread_t thread;
    error = pthread_create(&thread, &attributes, Run, &call);
    pthread_attr_destroy(&attributes);
    if (error != 0) continue;
    pthread_join(thread, nullptr);
    return call.result;
  }
  Fail(ErrorCode::kLimit,
       "stack: {} bytes (ulimit -s), at least {} are needed, and a thread with more cannot be had: "
       "{}",
       limit.rlim_cur, kLeast, std::strerror(error));
}

}  // namespace longspan::cli
