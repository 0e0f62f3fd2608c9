// Ctrl-C and other signals: what is said, what is saved, and how the process ends.
//
// No handler runs on a thread that computes: oneDNN's generated code uses the stack pointer as a
// register of its own in some products, and the frame that a signal leaves below it would overwrite
// the heap. So the signals are blocked in every thread, and one that does nothing else waits.
#pragma once

#include <functional>
#include <string>

namespace longspan::cli {

// To be called before any other thread starts: SIGINT, SIGTERM, SIGHUP and SIGUSR1 go to a thread
// of their own. Until CatchStopSignals a stop ends the process at once: files that are being
// written are removed, one line says so, and the process dies of the signal. Where the system has
// no thread to give, the signals do what they do without us.
void TakeStopSignals();

// From now on the first SIGINT, SIGTERM or SIGHUP sets a flag, and `told` says on stderr what
// happens next; a second one ends the process at once, as above, after `lost` has said what is
// given up. Both are called on the signals' thread, at any time, and return one line. Empty: as
// long as nothing is worth telling.
struct StopWords {
  std::function<std::string(const char*signal)> told, lost;
};
void CatchStopSignals(StopWords words = {});

// From now on SIGUSR1 asks for a save instead of ending the process, and a reader that went away
// (SIGPIPE) is an error of the write and no end of the run.
void ExpectSaves();

// The signal that arrived, or 0.
int StopSignal();
// Whether SIGUSR1 arrived since the last call.
bool TakeSaveWish();

}  // namespace longspan::cli
