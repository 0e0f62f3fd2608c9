#include "cli/signals.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "cli/ranks.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

struct Known {
  int number;
  const char* name;
};
// Two signals within this time are one: timeout(1) sends one to the process and one to its group.
constexpr std::chrono::milliseconds kOneSignal{100};

constexpr std::array<Known, 3> kStopSignals = {
    {{SIGINT, "SIGINT"}, {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"}}};

std::atomic<int> stop_signal = 0;
std::atomic<bool> caught = false, expects_saves = false, wants_save = false;

std::mutex words_mutex;
StopWords stop_words;

const char* NameOf(int signal) {
  for (const Known& known : kStopSignals) {
    if (known.number == signal) return known.name;
  }
  return "SIGUSR1";
}

sigset_t WaitedFor() {
  sigset_t set;
  sigemptyset(&set);
  for (const Known& known : kStopSignals) sigaddset(&set, known.number);
  sigaddset(&set, SIGUSR1);
  return set;
}

// A line on stderr, where it can be taken at once: a reader that has stopped must not keep us. The
// stream is not used: the thread that holds its lock may wait for that reader.
void Say(const std::string& line) {
  if (line.empty()) return;
  // A progress bar is in the way on a terminal; the line begins behind it.
  const bool below_bar = !LinesAreJson() && isatty(STDERR_FILENO) == 1;
  const std::string text = (below_bar ? "\n" : "") + StderrLine(LineKind::kNote, line);
  constexpr int kPatience_ms = 100;
  pollfd stream{STDERR_FILENO, POLLOUT, 0};
  if (poll(&stream, 1, kPatience_ms) != 1 || (stream.revents & POLLOUT) == 0) return;
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nobody is there to be told
}

// The process dies of the signal, as it would have without us, but for the files that it leaves
// half written.
void DieOf(int signal) {
  io::RemoveLiveTemporaries();
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  raise(signal);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  _exit(128 + signal);  // never reached: the signal is taken when it is unblocked
}

std::string Words(const std::function<std::string(const char*)>& function, int signal) {
  return function ? function(NameOf(signal)) : std::string();
}

void Stop(int signal) {
  // mpirun ends all ranks when one has died: this one is about to say why and to end.
  if (MustLeaveAtOnce()) return;
  if (!caught) {
    Say(std::string(NameOf(signal)) + ": stopped; no file is left half written");
    DieOf(signal);
  }
  static std::chrono::steady_clock::time_point first;
  const std::lock_guard lock(words_mutex);
  if (stop_signal == 0) {
    first = std::chrono::steady_clock::now();
    stop_signal = signal;
    Say(Words(stop_words.told, signal));
    return;
  }
  if (std::chrono::steady_clock::now() - first < kOneSignal) return;
  Say(Words(stop_words.lost, signal));
  DieOf(signal);
}

void Wait(std::array<bool, kStopSignals.size()> ignored) {
  const sigset_t set = WaitedFor();
  for (int signal = 0;;) {
    if (sigwait(&set, &signal) != 0) continue;
    if (signal == SIGUSR1) {
      if (!expects_saves) DieOf(signal);
      wants_save = true;
      continue;
    }
    for (std::size_t i = 0; i < kStopSignals.size(); ++i) {
      if (kStopSignals[i].number != signal) continue;
      // Who started us wants it ignored: nohup does so to a closed terminal. Shells do it to the
      // Ctrl-C of what runs in the background; one that is sent to a training is meant.
      if (!ignored[i] || (caught && signal != SIGHUP)) Stop(signal);
    }
  }
}

}  // namespace

void TakeStopSignals() {
  std::array<bool, kStopSignals.size()> ignored{};
  for (std::size_t i = 0; i < kStopSignals.size(); ++i) {
    struct sigaction action {};
    sigaction(kStopSignals[i].number, nullptr, &action);
    ignored[i] = action.sa_handler == SIG_IGN;
  }
  const sigset_t set = WaitedFor();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &set, &before);
  try {
    std::thread(Wait, ignored).detach();
  } catch (const std::system_error&) {  // no thread is to be had
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
}

void CatchStopSignals(StopWords new_words) {
  const std::lock_guard lock(words_mutex);
  stop_words = std::move(new_words);
  caught = true;
}

void ExpectSaves() {
  std::signal(SIGPIPE, SIG_IGN);
  expects_saves = true;
}

int StopSignal() { return stop_signal; }
bool TakeSaveWish() { return wants_save.exchange(false); }

}  // namespace longspan::cli
