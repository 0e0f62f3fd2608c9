#include "world/launcher.h"

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>

#include "base/errors.h"

namespace longspan {
namespace {

std::atomic<bool> refused_apart = false;

bool IsThere(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

// A number in the environment; none: it is not there, no number, or less than `least`.
std::optional<int> Number(const char* name, int least) {
  const char* value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  const std::string_view text(value);
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool good = error == std::errc() && end == text.data() + text.size() && number >= least;
  return good ? std::optional(number) : std::nullopt;
}

// The first of these numbers that is there.
template <class... Names>
int FirstRank(Names... names) {
  std::optional<int> found;
  ((found = found ? found : Number(names, 0)), ...);
  return found.value_or(0);
}

}  // namespace

Launcher FindLauncher() {
  if (const char* mpi = std::getenv("LONGSPAN_MPI"); mpi != nullptr && std::string_view(mpi) == "0")
    return {};
  // Open MPI's mpirun. It comes first: inside a job of Slurm its ranks have Slurm's variables too,
  // of the job or of the daemons that it starts.
  if (const auto size = Number("OMPI_COMM_WORLD_SIZE", 1)) {
    return {"mpirun", *size, FirstRank("OMPI_COMM_WORLD_RANK")};
  }
  // SLURM_NTASKS is no sign: a batch script, which runs once, has it too.
  const auto tasks = Number("SLURM_STEP_NUM_TASKS", 1);
  const char* const name = tasks ? "srun" : "mpirun";
  if (const auto size = Number("PMI_SIZE", 1)) {  // MPICH's mpirun, and srun --mpi=pmi2
    return {name, *size, FirstRank("PMI_RANK", "PMIX_RANK")};
  }
  const bool introduces = IsThere("PMIX_RANK") || IsThere("PMI_RANK");
  if (!introduces && tasks.value_or(1) == 1) return {};
  return {name, tasks.value_or(0), FirstRank("PMI_RANK", "PMIX_RANK", "SLURM_PROCID"), introduces};
}

void RefuseApart(const Launcher& launcher, const std::string& library, int sees) {
  refused_apart = true;
  if (!launcher.introduces) {
    Fail(ErrorCode::kUsage,
         "mpi: {} has started {} processes that cannot find each other: start them with {} "
         "--mpi=pmix ({} --mpi=list shows what it has) or with mpirun, or set LONGSPAN_MPI=0 for "
         "processes that do not know each other",
         launcher.name, launcher.ranks, launcher.name, launcher.name);
  }
  Fail(ErrorCode::kUsage,
       "mpi: {} has started {} processes, and {} sees {}: start them with the mpirun of the MPI "
       "that longspan was built with, or with srun --mpi=pmix",
       launcher.name, launcher.ranks, library, sees);
}

bool WereRefusedApart() { return refused_apart; }

}  // namespace longspan
