// The processes that mpirun started together: who of them speaks, and how each of them ends.
#pragma once

#include <string>

#include "cli/visual/command.h"
#include "longspan/context.h"
#include "longspan/world.h"

namespace longspan::cli {

// The world of this process. The first call starts it, where mpirun or srun started this process
// with others. When another rank fails from then on, this process writes a line about it and ends
// with status 8, whatever it is doing.
World& StartRanks();
// The threads of this rank: `asked`, where it is a number, or else its share of the host's.
int RankThreads(int asked);
// A context that has joined it, with this rank's share of the host's threads unless the caller
// named a number.
Context RankContext(const Globals& globals);

// Whether this process prints: rank 0, or a process alone.
bool Speaks();
// Before the messages of this process: "rank 1 on host: "; empty for one process.
std::string RankPrefix();
// The end of a command that went well: waits for the other ranks.
void FinishRanks();

// ---- how a rank ends

// Whether another rank has failed: this process is about to end.
bool PeerFailed();
// This rank ends with this message: the others learn it. False: it need not be told, because rank 0
// tells the same.
bool TellRanks(const std::string& message) noexcept;
// Sets what ends the process with a line of kPeer; before StartRanks.
void EndOnPeerFailure(void (*end)(const char* line));
// Whether this process must end at once, without what is done at an ordinary end: MPI's own end
// would wait for ranks that are gone.
bool MustLeaveAtOnce();

}  // namespace longspan::cli
