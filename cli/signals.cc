#include "cli/signals.h"

#include <unistd.h>

#include <csignal>
#include <initializer_list>

namespace longspan::cli {
namespace {

volatile std::sig_atomic_t stop_signal = 0;

void OnSignal(int signal) {
  if (stop_signal != 0) _exit(128 + signal);
  stop_signal = signal;
}

}  // namespace

void CatchStopSignals() {
  struct sigaction action {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

int StopSignal() { return stop_signal; }

}  // namespace longspan::cli
