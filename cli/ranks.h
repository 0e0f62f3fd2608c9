// The processes that mpirun started together: who of them speaks, and how each of them ends.
#pragma once

#include <string>

#include "cli/visual/command.h"
#include "longspan/context.h"
#include "longspan/error.h"
#include "longspan/world.h"

namespace longspan::cli {

// The world of this process. The first call starts it, where mpirun or srun started this process
// with others. When another rank fails from then on, this process ends, whatever it is doing: with
// the status of that rank, or with 8 and a line about it where that rank died or fell silent.
World& StartRanks();
// The threads of this rank: `asked`, where it is a number, or else its share of the host's.
int RankThreads(int asked);
// A context that has joined it, with this rank's share of the host's threads unless the caller
// named a number.
Context RankContext(const Globals& globals);

// What a command that knows no ranks does where it was started several times together: rank 0
// throws kUsage, the others return its status once it has said why.
int RefuseRanks(const std::string& command);

// Whether this process prints: rank 0, or a process alone.
bool Speaks();
// Before the messages of this process: "rank 1 on host: "; empty for one process.
std::string RankPrefix();
// The end of a command that went well: waits for the other ranks.
void FinishRanks();

// ---- how a rank ends

// Whether another rank has failed: this process is about to end.
bool PeerFailed();
// With which status it ends: that of the rank that found a mistake or failed, or kPeer.
ErrorCode PeerStatus();
// This rank ends with this message: the others learn it. False: it need not be told, because rank 0
// tells the same.
bool TellRanks(ErrorCode code, const std::string& message) noexcept;
// This command saves nothing that --resume could go on from.
void NothingIsSaved();
// What follows the line about another rank's failure.
const char* AfterPeer();
// Sets what ends the process with a line of kPeer; before StartRanks.
void EndOnPeerFailure(void (*end)(const char* line));
// Whether this process must end at once, without what is done at an ordinary end: MPI's own end
// would wait for ranks that are gone.
bool MustLeaveAtOnce();

}  // namespace longspan::cli
