// Every subcommand of the program: each registers its options and leaves its work in `action`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/visual/command.h"

namespace longspan::cli {

// The status of a command whose check does not hold: verify, long-evidence.
inline constexpr int kDoesNotHold = 1;

// Options that stand before or behind any subcommand. Those that a subcommand has under the same
// name (`--strict` of train and eval, `--memory` of train, plan and bench) are that subcommand's.
struct Globals {
  int threads = 0;  // 0: LONGSPAN_THREADS, else the CPUs this process may use
  // How strictly files are taken (io/policy.h), and what the process may have
  // (base/memory_limit.h): set for the whole process before the action runs.
  bool strict_paths = false, strict_weights = false;
  std::string memory;
};

void RegisterBench(CLI::App& app, const Globals& globals, Action& action);
void RegisterClassify(CLI::App& app, const Globals& globals, Action& action);
void RegisterCompare(CLI::App& app, const Globals& globals, Action& action);
void RegisterConvert(CLI::App& app, Action& action);
void RegisterData(CLI::App& app, const Globals& globals, Action& action);
void RegisterDecodeReport(CLI::App& app, const Globals& globals, Action& action);
void RegisterDemo(CLI::App& app, const Globals& globals, Action& action);
void RegisterEmbed(CLI::App& app, const Globals& globals, Action& action);
void RegisterEval(CLI::App& app, const Globals& globals, Action& action);
void RegisterFillMask(CLI::App& app, const Globals& globals, Action& action);
void RegisterGenerate(CLI::App& app, const Globals& globals, Action& action);
void RegisterInfo(CLI::App& app, Action& action);
void RegisterInit(CLI::App& app, Action& action);
void RegisterLongEvidence(CLI::App& app, const Globals& globals, Action& action);
void RegisterLshReport(CLI::App& app, const Globals& globals, Action& action);
void RegisterMultipleChoice(CLI::App& app, const Globals& globals, Action& action);
void RegisterPlan(CLI::App& app, const Globals& globals, Action& action);
void RegisterPuzzle(CLI::App& app, const Globals& globals, Action& action);
void RegisterQa(CLI::App& app, const Globals& globals, Action& action);
void RegisterTokenClassify(CLI::App& app, const Globals& globals, Action& action);
void RegisterTokenize(CLI::App& app, Action& action);
void RegisterTrain(CLI::App& app, const Globals& globals, Action& action);
void RegisterVerify(CLI::App& app, const Globals& globals, Action& action);

}  // namespace longspan::cli
