// longspan: the command-line program.

#include <fmt/ranges.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <new>

#include "base/errors.h"
#include "base/isa.h"
#include "cli/commands.h"
#include "cli/signals.h"
#include "cli/visual/cmd_pattern.h"
#include "cli/visual/cmd_plot.h"
#include "longspan/context.h"
#include "longspan/version.h"

namespace longspan::cli {
namespace {

constexpr const char* kFooter =
    "Examples:\n"
    "  longspan demo                                   train on a novel, draw, write\n"
    "  longspan init --arch reformer --preset small -o start\n"
    "  longspan train lm -m start --train book.txt -o run\n"
    "  longspan generate -m run -p 'It was' --tokens 300\n"
    "Exit codes: 0 ok, 2 usage, 3 bad model or data, 4 I/O, 5 memory or limit, 6 numeric,\n"
    "7 locked, 130/143 interrupted (and saved).";

std::string VersionText() {
  return fmt::format("longspan {}\n{}, instruction sets here: {}", LONGSPAN_VERSION,
                     Context().Describe(), fmt::join(RunnableIsas(), " "));
}

int Report(ErrorCode code, const char* message) {
  std::fprintf(stderr, "longspan: %s\n", message);
  return static_cast<int>(code);
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == 0;  // --help, --version
    if (asked) return app.exit(error);
    return Report(ErrorCode::kUsage, (std::string(error.what()) + " (see --help)").c_str());
  }
  return action ? action() : static_cast<int>(ErrorCode::kUsage);
}

}  // namespace
}  // namespace longspan::cli

int main(int argc, char** argv) {
  longspan::cli::TakeStopSignals();
  using longspan::ErrorCode;
  // A file size limit shall be an error of the write, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return longspan::cli::Run(argc, argv);
  } catch (const longspan::Error& error) {
    return longspan::cli::Report(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return longspan::cli::Report(ErrorCode::kLimit,
                                 "memory: the system refuses an allocation; lower the length, the "
                                 "batch or the model's size");
  } catch (const std::filesystem::filesystem_error& error) {
    return longspan::cli::Report(ErrorCode::kIo, error.what());
  } catch (const std::exception& error) {
    return longspan::cli::Report(ErrorCode::kLimit, error.what());
  }
}
