// longspan tokenize train.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/visual/command.h"

namespace longspan::cli {

// Registers the subcommand below `tokenize`.
CLI::App* RegisterTokenizeTrain(CLI::App* tokenize, Action& action);

}  // namespace longspan::cli
