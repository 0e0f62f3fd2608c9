// Ctrl-C and SIGTERM as a wish to stop, not as an end.
#pragma once

namespace longspan::cli {

// From now on the first SIGINT, SIGTERM or SIGHUP only sets a flag; a second one ends the process
// at once, with 128 + its number.
void CatchStopSignals();

// The signal that arrived, or 0.
int StopSignal();

}  // namespace longspan::cli
