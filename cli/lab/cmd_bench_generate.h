// longspan bench generate: what a token costs behind texts of several lengths.
#pragma once

#include "cli/commands.h"

namespace longspan::cli {

void AddGenerateBench(CLI::App* bench, const Globals& globals, Action& action);

}  // namespace longspan::cli
