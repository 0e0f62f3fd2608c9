// How a command plugs into the program: it registers its options, and its callback puts what is to
// be done into `action`. main runs the action after parsing, and turns a thrown Error into its exit
// code.
#pragma once

#include <CLI/App.hpp>
#include <functional>
#include <string>

namespace longspan::cli {

// Runs the chosen command; returns the exit code.
using Action = std::function<int()>;

// Options that stand before or behind any command. Those that a command has under the same name
// (`--strict` of train and eval, `--memory` of train, plan and bench) are that command's.
struct Globals {
  int threads = 0;  // 0: LONGSPAN_THREADS, else the CPUs this process may use
  // How strictly files are taken (io/policy.h), and what the process may have
  // (base/memory_limit.h): set for the whole process before the action runs.
  bool strict_paths = false, strict_weights = false;
  std::string memory;
};

// Adds options, pages below it, a footer and a callback to a command that the table of commands has
// made. `globals` and `action` outlive the command.
using Register = void(CLI::App* command, const Globals& globals, Action& action);

// The options that are added from here on stand under this heading of the command's page.
inline void BeginGroup(CLI::App* command, const std::string& heading) {
  command->option_defaults()->group(heading);
}

// Headings that several commands share.
namespace heading {
inline constexpr const char* kTexts = "Texts";
inline constexpr const char* kModel = "Model";
inline constexpr const char* kRows = "Rows";
inline constexpr const char* kRun = "Run";
inline constexpr const char* kLearning = "Learning";
inline constexpr const char* kComputing = "Computing";
inline constexpr const char* kOutput = "Output";
// Options that are seldom needed: `help --all` lists them, other pages leave them to their last
// words.
inline constexpr const char* kMore = "More options";
}  // namespace heading

}  // namespace longspan::cli
