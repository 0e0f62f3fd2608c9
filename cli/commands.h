// Every command of the program, in one table: a new command is a file with its Register function,
// that function's name below and one line of the table in commands.cc.
#pragma once

#include <CLI/CLI.hpp>
#include <span>

#include "cli/visual/command.h"

namespace longspan::cli {

// The status of a command whose check does not hold: verify, long-evidence.
inline constexpr int kDoesNotHold = 1;

Register RegisterBench, RegisterClassify, RegisterCompare, RegisterCompletion, RegisterConvert,
    RegisterData, RegisterDecodeReport, RegisterDemo, RegisterEmbed, RegisterEnv, RegisterEval,
    RegisterFillMask, RegisterGenerate, RegisterHelp, RegisterInfo, RegisterInit,
    RegisterLongEvidence, RegisterLshReport, RegisterMultipleChoice, RegisterPlan, RegisterPuzzle,
    RegisterQa, RegisterReport, RegisterRerank, RegisterSimilar, RegisterTokenClassify,
    RegisterTokenize, RegisterTrain, RegisterVerify;

// What the processes do that mpirun has started together.
enum class UnderMpirun {
  kShare,   // they share the work, or the command says itself what it cannot share
  kFirst,   // rank 0 looks something up; the others end at once
  kRefuse,  // each would do all of it and write the same: refused
};

struct Command {
  const char* group;  // its heading on the first page
  const char* name;
  Register* add;
  const char* description;
  UnderMpirun ranks = UnderMpirun::kRefuse;
};

// In the order of the first page; commands of one group stand together.
std::span<const Command> Commands();

// Of the command that `app` has parsed; nothing: of no command.
UnderMpirun RanksOf(const CLI::App& app);

// Adds all of them, the options of every command (read into `globals`) and the pages' form to the
// root. RefuseUnfitValues (option_checks.h) has been applied.
void AddCommands(CLI::App& root, Globals& globals, Action& action);

}  // namespace longspan::cli
