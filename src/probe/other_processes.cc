#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "longspan/machine.h"
#include "probe/clock.h"

namespace longspan {
namespace {

// The cores below CPU_SETSIZE (1024) that this process may run on; none where that is not known.
std::vector<int> AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

// Seconds that these cores were busy since the machine began; 0 where /proc/stat does not tell.
double BusySeconds(const std::vector<int>& cpus) {
  std::FILE* file = std::fopen("/proc/stat", "re");
  if (file == nullptr) return 0.0;
  double ticks = 0.0;
  char line[512];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    int cpu = 0;
    long long user = 0, nice = 0, system = 0, idle = 0, wait = 0, irq = 0, soft = 0, steal = 0;
    const int found = std::sscanf(line, "cpu%d %lld %lld %lld %lld %lld %lld %lld %lld", &cpu,
                                  &user, &nice, &system, &idle, &wait, &irq, &soft, &steal);
    if (found != 9 || !std::binary_search(cpus.begin(), cpus.end(), cpu)) continue;
    ticks += static_cast<double>(user + nice + system + irq + soft + steal);
  }
  std::fclose(file);
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Seconds that all threads of this process have run.
double OwnSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0.0;
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

OtherProcesses::OtherProcesses()
    : cpus_(AllowedCpus()),
      begin_(probe::Seconds()),
      busy_(BusySeconds(cpus_)),
      own_(OwnSeconds()) {}

double OtherProcesses::BusyCores() const {
  const double seconds = probe::Seconds() - begin_;
  if (seconds <= 0.0) return 0.0;
  const double others = BusySeconds(cpus_) - busy_ - (OwnSeconds() - own_);
  return std::clamp(others / seconds, 0.0, static_cast<double>(cores()));
}

}  // namespace longspan
