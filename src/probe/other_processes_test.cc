#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include "longspan/machine.h"
#include "probe/clock.h"

namespace longspan {
namespace {

// Whether /proc/stat counts here: some sandboxes have one that is all zeros.
bool StatCounts() {
  std::FILE* file = std::fopen("/proc/stat", "re");
  if (file == nullptr) return false;
  long long user = 0;
  const bool found = std::fscanf(file, "cpu %lld", &user) == 1;
  std::fclose(file);
  return found && user > 0;
}

TEST(OtherProcesses, ABusyOneIsSeen) {
  if (!StatCounts()) GTEST_SKIP() << "/proc/stat does not count";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(30);  // ends it if the test dies
    for (volatile int turns = 0;;) turns = turns + 1;
  }
  const OtherProcesses others;
  usleep(500'000);
  const double busy = others.BusyCores();
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_GT(busy, 0.2);  // of a crowded machine it gets a part, and the crowd the rest
  EXPECT_LE(busy, others.cores());
}

TEST(OtherProcesses, ThisOneIsNone) {
  // It runs on a core for a part of the time at least, and that part belongs to nobody else. On a
  // crowded machine the part is small; half of it covers what /proc/stat rounds.
  const OtherProcesses others;
  const double begin = probe::Seconds();
  const std::clock_t own = std::clock();
  while (probe::Seconds() < begin + 0.3) {
  }
  const double busy = others.BusyCores();
  const double share =
      static_cast<double>(std::clock() - own) / CLOCKS_PER_SEC / (probe::Seconds() - begin);
  EXPECT_GE(busy, 0.0);
  EXPECT_LE(busy, others.cores() - 0.5 * share);
}

}  // namespace
}  // namespace longspan
