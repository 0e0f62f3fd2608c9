// How the program ends when something fails: one line and the exit code of its kind, also where
// nothing can be caught any more.
#pragma once

#include <cstddef>
#include <string>

#include "longspan/error.h"

namespace longspan::cli {

// Bytes of a message that others worded (a library, CLI11), at most.
inline constexpr std::size_t kLongestMessage = 4096;

// To be called first. From then on memory that is gone ends the process with a line and status 5:
// unwinding has memory of its own, and an exception that nobody can catch is told before the end.
// libgomp, which leaves the process by exit() when it gets no memory, leaves with 5 too.
void PrepareForFailure();

// To be called in a catch block: tells the exception; the exit code. Where lines are JSON
// (cli/visual/stderr_lines.h) it is
// {"error": {"code": 3, "kind": "bad_data", "message": "..."}}. kinds: usage, bad_data, io, limit,
// numeric, locked, peer.
int TellFailure() noexcept;

// main is about to return this status: exit() is nobody else's from here. Where several ranks train
// and one has failed, the process ends here.
void LeaveOrdinarily(int status);

}  // namespace longspan::cli
