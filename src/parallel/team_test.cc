#include "parallel/team.h"

#include <grp.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include "longspan/error.h"
#include "parallel/parallel_for.h"

namespace longspan {
namespace {

// Runs 64 tasks; whether each ran once.
bool AllTasksRun(const Context& context) {
  std::atomic<int> counts[64] = {};
  ParallelFor(context, 64, [&](idx_t task, int) { ++counts[task]; });
  for (const std::atomic<int>& count : counts) {
    if (count != 1) return false;
  }
  return true;
}

// What a forked child finds: whether `holds` returns true within 20 seconds. The child is that of
// a thread that has run nothing yet, but for what `first` does.
bool InChild(
    const std::function<bool()>& holds, const std::function<void()>& first = [] {}) {
  int status = -1;
  std::thread([&] {
    first();
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      bool found = false;
      try {
        found = holds();
      } catch (const std::exception& error) {
        std::fprintf(stderr, "child: %s\n", error.what());
      }
      _exit(found ? 0 : 1);
    }
    waitpid(child, &status, 0);
  }).join();
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void SetLimit(int what, rlim_t value) {
  struct rlimit limit {};
  getrlimit(static_cast<__rlimit_resource_t>(what), &limit);
  limit.rlim_cur = value;
  setrlimit(static_cast<__rlimit_resource_t>(what), &limit);
}

std::size_t AddressSpace() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long pages = 0;
  if (file == nullptr || std::fscanf(file, "%lu", &pages) != 1) pages = 0;
  if (file != nullptr) std::fclose(file);
  return pages * static_cast<std::size_t>(sysconf(_SC_PAGE_SIZE));
}

// Sanitizers have threads and addresses of their own.
class Team : public testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("LONGSPAN_SANITIZED") != nullptr) GTEST_SKIP() << "sanitized";
  }
};

TEST_F(Team, ForkedChildIsToldInWords) {
  const auto used = [] { EXPECT_TRUE(AllTasksRun(Context(2))); };
  EXPECT_TRUE(InChild(
      [] {
        for (int again = 0; again < 2; ++again) {
          try {
            AllTasksRun(Context(2));
            return false;
          } catch (const Error& error) {
            if (error.code() != ErrorCode::kUsage) return false;
            if (std::string(error.what()).find("forked") == std::string::npos) return false;
          }
        }
        return AllTasksRun(Context(1));
      },
      used));
}

TEST_F(Team, ForkBeforeTheFirstOperationWorks) {
  EXPECT_TRUE(InChild([] {
    const Context context(3);
    return AllTasksRun(context) && context.Warning().empty();
  }));
}

TEST_F(Team, ParentGoesOnAfterFork) {
  EXPECT_TRUE(AllTasksRun(Context(2)));
  EXPECT_TRUE(InChild([] { return true; }));
  EXPECT_TRUE(AllTasksRun(Context(2)));
}

TEST_F(Team, FewerThreadsWhereTheUserMayHaveNoMore) {
  static std::string told;
  EXPECT_TRUE(InChild([] {
    if (getuid() == 0 && (setgroups(0, nullptr) != 0 || setuid(65534) != 0)) return false;
    SetLimit(RLIMIT_NPROC, 0);
    TellThreadWarnings([](const char* text) { told = text; });
    const Context context(4);
    if (!AllTasksRun(context) || !AllTasksRun(context)) return false;
    return context.Warning().starts_with("threads: 1 instead of 4: ") &&
           told == context.Warning() && context.threads() == 4;
  }));
}

TEST_F(Team, FewerThreadsWhereAddressesEnd) {
  EXPECT_TRUE(InChild([] {
    setenv("OMP_STACKSIZE", "8M", 1);
    // Two stacks and what is needed behind them, not three.
    SetLimit(RLIMIT_AS, AddressSpace() + (std::size_t{36} << 20));
    const Context context(8);
    return AllTasksRun(context) && !context.Warning().empty();
  }));
}

TEST_F(Team, SmallStacks) {
  EXPECT_TRUE(InChild([] {
    setenv("OMP_STACKSIZE", " 16 k", 1);
    const Context context(2);
    return AllTasksRun(context) && context.Warning().find("16384 bytes") != std::string::npos;
  }));
  for (const bool enough : {false, true}) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, enough ? 4 * kLeastStack : kLeastStack / 2);
    const auto work = [](void* code) -> void* {
      try {
        AllTasksRun(Context(2));
      } catch (const Error& error) {
        *static_cast<int*>(code) = static_cast<int>(error.code());
      }
      return nullptr;
    };
    int code = 0;
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, &attributes, work, &code), 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    EXPECT_EQ(code, enough ? 0 : static_cast<int>(ErrorCode::kLimit));
  }
}

TEST(TeamThreads, OfManySizes) {
  for (const int threads : {2, 5, 3, 8, 1, 4, 16, 2}) {
    const Context context(threads);
    EXPECT_TRUE(AllTasksRun(context));
    EXPECT_EQ(context.Warning(), "");
  }
}

}  // namespace
}  // namespace longspan
