// longspan bench world: how fast messages between the ranks of mpirun are.
#pragma once

#include "cli/commands.h"

namespace longspan::cli {

void AddWorldBench(CLI::App* bench, const Globals& globals, Action& action);

}  // namespace longspan::cli
