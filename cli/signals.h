// Ctrl-C and SIGTERM as a wish to stop, not as an end.
//
// No handler runs on a thread that computes: oneDNN's generated code uses the stack pointer as a
// register of its own in some products, and the frame that a signal leaves below it would overwrite
// the heap. So the signals are blocked in every thread, and one that does nothing else waits.
#pragma once

namespace longspan::cli {

// To be called before any other thread starts: SIGINT, SIGTERM and SIGHUP go to a thread of their
// own, and until CatchStopSignals do what they would have done.
void TakeStopSignals();

// From now on the first SIGINT, SIGTERM or SIGHUP only sets a flag; a second one ends the process
// at once, with 128 + its number.
void CatchStopSignals();

// The signal that arrived, or 0.
int StopSignal();

}  // namespace longspan::cli
