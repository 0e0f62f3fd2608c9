// longspan pattern: pictures of which query sees which key.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

#include "cli/visual/command.h"
#include "cli/visual/grid.h"
#include "cli/visual/pattern.h"

namespace longspan::cli {

struct PatternCommand {
  std::string kind;  // empty: every kind's gallery
  PatternOptions options;
  // Names of the shape options that the user gave, "--chunk". Without "--causal" among them the
  // kind decides.
  std::vector<std::string> given;
  std::string output;  // .svg or .png; empty: the terminal
  bool json = false;
};

// One panel for what was asked, or the gallery when no shape option was given. Throws kUsage when
// the kind does not know an option.
GridSheet MakePatternSheet(const PatternCommand& command);

// Runs the kernel, draws, writes. Throws Error: kUsage, kIo.
int RunPattern(const PatternCommand& command);

void RegisterPattern(CLI::App* command, const Globals& globals, Action& action);

}  // namespace longspan::cli
