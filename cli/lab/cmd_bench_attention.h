// longspan bench attention: one mechanism alone, checked, then timed beside the peak.
#pragma once

#include "cli/commands.h"

namespace longspan::cli {

void AddAttentionBench(CLI::App* bench, const Globals& globals, Action& action);

// `bench bf16`: times every path of bf16 products that the machine has.
void AddBf16Bench(CLI::App* bench, const Globals& globals, Action& action);

}  // namespace longspan::cli
