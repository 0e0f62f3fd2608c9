// longspan report: a training run on one page.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/html_page.h"
#include "cli/report_html.h"
#include "cli/visual/output.h"
#include "longspan/files.h"

namespace longspan::cli {
namespace {

struct ReportCommand {
  std::string run, output, predictions;
};

constexpr std::uint64_t kMostTextBytes = std::uint64_t{4} << 20;

// A text file of a run's folder; empty if it is not there.
std::string TextIn(const std::filesystem::path& folder, const char* name) {
  std::error_code none;
  if (!std::filesystem::is_regular_file(folder / name, none)) return "";
  return io::ReadWholeFile(folder / name, kMostTextBytes);
}

int RunReportCommand(const ReportCommand& c) {
  const std::filesystem::path output = CheckedHtmlName(c.output);
  const std::vector<std::string> inputs = {c.run, c.predictions};
  CheckIsNoInput(output, inputs);
  RunReport report;
  report.log = ReadRunLog(c.run);
  const std::filesystem::path folder = report.log.file.parent_path();
  report.options = TextIn(folder, kConfigName);
  report.config = TextIn(folder, "config.json");
  if (!c.predictions.empty()) report.predictions = ReadPredictions(c.predictions);
  io::WriteFileAtomic(output, ReportHtml(report));
  PrintResult(fmt::format("{}: curves, evaluations and options of {}\n", io::Escape(c.output, 400),
                          io::Escape(report.log.name)));
  return 0;
}

}  // namespace

void RegisterReport(CLI::App* command, const Globals& /*globals*/, Action& action) {
  const auto c = std::make_shared<ReportCommand>();
  command->add_option("RUN", c->run, "Folder of a run")->required();
  command->add_option("-o,--output", c->output, "Page to write, .html")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--predictions", c->predictions,
                   "File of eval --predictions FILE.jsonl, for a confusion matrix and the worst "
                   "examples")
      ->type_name("FILE");
  command->footer(
      "The page is one file without scripts that needs no network.\n"
      "Examples:\n  longspan report run -o report.html");
  command->callback([c, &action] { action = [c] { return RunReportCommand(*c); }; });
}

}  // namespace longspan::cli
