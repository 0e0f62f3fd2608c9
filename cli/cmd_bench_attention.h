// longspan bench attention: one mechanism alone, checked, then timed beside the peak.
#pragma once

#include "cli/commands.h"

namespace longspan::cli {

void AddAttentionBench(CLI::App* bench, const Globals& globals, Action& action);

}  // namespace longspan::cli
