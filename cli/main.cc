// longspan: the command-line program.

#include <fcntl.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/failure.h"
#include "cli/help.h"
#include "cli/large_stack.h"
#include "cli/memory_size.h"
#include "cli/openmp_start.h"
#include "cli/option_checks.h"
#include "cli/ranks.h"
#include "cli/signals.h"
#include "cli/unknown_words.h"
#include "cli/visual/output.h"
#include "cli/visual/stderr_lines.h"
#include "longspan/context.h"
#include "longspan/files.h"
#include "longspan/process.h"
#include "longspan/version.h"
#include "longspan/world.h"

namespace longspan::cli {
namespace {

std::string VersionText() {
  return fmt::format("longspan {}\n{}, instruction sets here: {}", LONGSPAN_VERSION,
                     Context().Describe(), fmt::join(RunnableIsas(), " "));
}

// A file that is opened later must not get the number of a standard stream that the caller closed:
// what is printed would end up in it. In its place stands a stream that cannot be used either.
void HoldStandardStreams() {
  constexpr int kUseless[] = {O_WRONLY, O_RDONLY, O_RDONLY};
  for (int fd = 0; fd < 3; ++fd) {
    if (fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    int opened = -1;
    do {
      opened = open("/dev/null", kUseless[fd]);
    } while (opened == -1 && errno == EINTR);
    if (opened != fd) return;
  }
}

// What holds for the whole process.
void Apply(const Globals& globals) {
  io::SetPolicy({globals.strict_paths, globals.strict_weights});
  if (!globals.memory.empty()) SetMemoryLimit(ParseMemory("--memory", globals.memory));
}

int Run(int argc, char** argv) {
  CLI::App app("longspan trains and runs long-sequence transformers on ordinary CPUs", "longspan");
  Globals globals;
  Action action;
  AddCommands(app, globals, action);
  app.set_version_flag("--version", VersionText, "Print the version")->group(kEveryCommand);
  std::vector<std::string> words(argv + 1, argv + argc);
  const auto json = std::find(words.begin(), words.end(), "--json");
  if (json != words.end() && json < std::find(words.begin(), words.end(), "--")) {
    WriteLinesAsJson();
  }
  if (words.empty()) {
    PrintResult(app.help());
    return 0;
  }
  try {
    words = WithConfigFile(app, WithJsonBehindCommand(app, std::move(words)));
    std::vector<std::string> reversed = MarkedWords(words);
    std::reverse(reversed.begin(), reversed.end());
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help, --version
    if (asked) {
      std::ostringstream text;
      app.exit(error, text, text);
      PrintResult(text.str());
      return 0;
    }
    Fail(ErrorCode::kUsage, "{}", UsageMessage(app, words, error));
  }
  RefuseContradictions(app);
  RefuseIdleOptions(app);
  const bool others = World::LaunchedRanks() != 1;
  if (others && RanksOf(app) == UnderMpirun::kFirst && World::LaunchedRank() > 0) return 0;
  if (others && RanksOf(app) == UnderMpirun::kRefuse) {
    return RefuseRanks(app.get_subcommands().front()->get_name());
  }
  Apply(globals);
  const int status = action ? action() : static_cast<int>(ErrorCode::kUsage);
  FinishRanks();
  return status;
}

// work(argc, argv); what it throws is told.
int Guarded(int (*work)(int, char**), int argc, char** argv) {
  try {
    return work(argc, argv);
  } catch (...) {
    return TellFailure();
  }
}

int Start(int argc, char** argv) {
  TakeStopSignals();
  TellThreadWarnings([](const char* text) { TellWarning(text); });
  return RunOnLargeStack([](int n, char** words) { return Guarded(Run, n, words); }, argc, argv);
}

}  // namespace
}  // namespace longspan::cli

int main(int argc, char** argv) {
  using namespace longspan::cli;
  RestoreEnvironment();
  HoldStandardStreams();
  PrepareForFailure();
  RaiseThreadStacks();
  // A file size limit shall be an error of the write, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  const int status = Guarded(Start, argc, argv);
  LeaveOrdinarily(status);
  return status;
}
