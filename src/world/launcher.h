// Who started this process together with others, as the environment says: the one place that knows
// the variables of launchers.
#pragma once

#include <string>

namespace longspan {

struct Launcher {
  const char* name = "";  // "mpirun", "srun"; empty: nobody
  int ranks = 1;  // 1: started alone, or LONGSPAN_MPI is 0; 0: with others, nobody says how many
  int rank = 0;   // of this process; 0 where nothing says it
  // False: srun gave the processes nothing to find each other by (--mpi=none, Debian's default).
  // MPI then would take each of them for a run of one.
  bool introduces = true;
};
Launcher FindLauncher();

// The processes that `launcher` started do not see each other: `library` (such as "Open MPI
// v4.1.4"; empty: it was not asked) sees `sees` of them. Throws kUsage, and remembers it.
[[noreturn]] void RefuseApart(const Launcher& launcher, const std::string& library, int sees);
// Whether RefuseApart was called in this process.
bool WereRefusedApart();

}  // namespace longspan
