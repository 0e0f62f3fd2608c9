#include "cli/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>

namespace longspan::cli {
namespace {

constexpr std::array<int, 3> kStopSignals = {SIGINT, SIGTERM, SIGHUP};

std::atomic<int> stop_signal = 0;
std::atomic<bool> caught = false;

sigset_t StopSet() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kStopSignals) sigaddset(&set, signal);
  return set;
}

// What would have happened without us.
void DieOf(int signal) {
  sigset_t set = StopSet();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  raise(signal);
}

void Wait(std::array<bool, kStopSignals.size()> ignored) {
  const sigset_t set = StopSet();
  for (int signal = 0;;) {
    if (sigwait(&set, &signal) != 0) continue;
    if (!caught) {
      for (std::size_t i = 0; i < kStopSignals.size(); ++i) {
        if (kStopSignals[i] == signal && !ignored[i]) DieOf(signal);
      }
      continue;
    }
    if (stop_signal != 0) _exit(128 + signal);
    stop_signal = signal;
  }
}

}  // namespace

void TakeStopSignals() {
  std::array<bool, kStopSignals.size()> ignored{};
  for (std::size_t i = 0; i < kStopSignals.size(); ++i) {
    struct sigaction action {};
    sigaction(kStopSignals[i], nullptr, &action);
    ignored[i] = action.sa_handler == SIG_IGN;
  }
  const sigset_t set = StopSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread(Wait, ignored).detach();
}

void CatchStopSignals() { caught = true; }

int StopSignal() { return stop_signal; }

}  // namespace longspan::cli
