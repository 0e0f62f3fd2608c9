// What OpenMP's runtime reads of the environment, set for it before it reads.
#pragma once

namespace longspan::cli {

// To be called at the start of main: the environment as the caller gave it.
void RestoreEnvironment();

}  // namespace longspan::cli
