// How a subcommand plugs into the program: it registers its options, and its callback puts what is
// to be done into `action`. main runs the action after parsing, and turns a thrown Error into its
// exit code.
#pragma once

#include <functional>

namespace longspan::cli {

// Runs the chosen subcommand; returns the exit code.
using Action = std::function<int()>;

}  // namespace longspan::cli
