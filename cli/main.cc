// longspan: the command-line program.

#include <fcntl.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sstream>

#include "base/errors.h"
#include "base/isa.h"
#include "base/memory_limit.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/large_stack.h"
#include "cli/memory_size.h"
#include "cli/openmp_start.h"
#include "cli/option_checks.h"
#include "cli/signals.h"
#include "cli/visual/cmd_pattern.h"
#include "cli/visual/cmd_plot.h"
#include "cli/visual/output.h"
#include "io/escape.h"
#include "io/policy.h"
#include "io/posix.h"
#include "longspan/context.h"
#include "longspan/version.h"
#include "parallel/team.h"

namespace longspan::cli {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  longspan demo                                   train on a novel, draw, write\n"
    "  longspan init --arch reformer --preset small -o start\n"
    "  longspan train lm -m start --train book.txt -o run\n"
    "  longspan generate -m run -p 'It was' --tokens 300\n"
    "Exit codes: 0 ok, 2 usage, 3 bad model or data, 4 I/O, 5 memory or limit, 6 numeric,\n"
    "7 locked; 129, 130, 143 stopped by a signal (a training has saved).";

constexpr std::size_t kLongestMessage = 4096;  // of one that CLI11 worded

std::string VersionText() {
  return fmt::format("longspan {}\n{}, instruction sets here: {}", LONGSPAN_VERSION,
                     Context().Describe(), fmt::join(RunnableIsas(), " "));
}

// A file that is opened later must not get the number of a standard stream that the caller closed:
// what is printed would end up in it. In its place stands a stream that cannot be used either.
void HoldStandardStreams() {
  constexpr int kUseless[] = {O_WRONLY, O_RDONLY, O_RDONLY};
  for (int fd = 0; fd < 3; ++fd) {
    const bool closed = fcntl(fd, F_GETFD) == -1 && errno == EBADF;
    if (closed && io::Again([&] { return open("/dev/null", kUseless[fd]); }) != fd) return;
  }
}

// What holds for the whole process.
void Apply(const Globals& globals) {
  io::SetPolicy({globals.strict_paths, globals.strict_weights});
  if (!globals.memory.empty()) SetMemoryLimit(ParseMemory("--memory", globals.memory));
}

int Run(int argc, char** argv) {
  CLI::App app("longspan trains and runs long-sequence transformers on ordinary CPUs.", "longspan");
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.fallthrough();
  app.get_formatter()->column_width(36);  // wide enough that few options need two lines
  app.footer(kFooter);
  app.set_version_flag("--version", VersionText);
  Globals globals;
  app.add_option("-t,--threads", globals.threads, "threads (default: all CPUs it may use)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--memory", globals.memory,
                 "that work may need at most: 512M, 4G (default: what there is)");
  app.add_flag("--strict,--strict-weights", globals.strict_weights,
               "tensors without a place in the model are an error");
  app.add_flag("--strict-paths", globals.strict_paths,
               "no links that lead out of a model's folder");
  Action action;
  RegisterDemo(app, globals, action);
  RegisterInit(app, action);
  RegisterInfo(app, action);
  RegisterConvert(app, action);
  RegisterData(app, globals, action);
  RegisterPlan(app, globals, action);
  RegisterTrain(app, globals, action);
  RegisterEval(app, globals, action);
  RegisterGenerate(app, globals, action);
  RegisterDecodeReport(app, globals, action);
  RegisterTokenize(app, action);
  RegisterFillMask(app, globals, action);
  RegisterClassify(app, globals, action);
  RegisterTokenClassify(app, globals, action);
  RegisterQa(app, globals, action);
  RegisterMultipleChoice(app, globals, action);
  RegisterEmbed(app, globals, action);
  RegisterLongEvidence(app, globals, action);
  RegisterPuzzle(app, globals, action);
  RegisterLshReport(app, globals, action);
  RegisterPlot(app, action);
  RegisterPattern(app, action);
  RegisterVerify(app, globals, action);
  RegisterBench(app, globals, action);
  RegisterCompare(app, globals, action);
  RefuseUnfitValues(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help, --version
    if (asked) {
      std::ostringstream text;
      app.exit(error, text, text);
      PrintResult(text.str());
      return 0;
    }
    Fail(ErrorCode::kUsage, "{} (see --help)", io::Escape(error.what(), kLongestMessage));
  }
  Apply(globals);
  return action ? action() : static_cast<int>(ErrorCode::kUsage);
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
  TellThreadWarnings([](const char* text) { std::fprintf(stderr, "warning: %s\n", text); });
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
  LeaveOrdinarily();
  return status;
}
