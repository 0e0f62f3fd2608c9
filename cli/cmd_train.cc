// longspan train: the table of trainings, and what all of them do at the end.

#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/trainings.h"
#include "cli/visual/output.h"

namespace longspan::cli {
namespace {

struct Training {
  const char* name;
  Register* add;
  const char* description;
};

constexpr Training kTrainings[] = {
    {"lm", AddTrainLm, "Train a Reformer as a language model of texts, in bytes or in tokens"},
    {"mlm", AddTrainMlm, "Train a model to guess masked tokens of texts"},
    {"classify", AddTrainClassify,
     "Train a classifier of texts: classes, sets of labels or numbers"},
};

}  // namespace

const std::string kTrainNotes =
    kReading + std::string(
                   "--beta1, --beta2 and --allow-nonfinite work, too. Ctrl-C, SIGTERM and SIGHUP "
                   "save and leave;\nSIGUSR1 saves.\n");

int RunTrainCommand(const TrainCommand& c, const TrainRun& run, const std::string& next) {
  const TrainResult result = RunWithProgress(ParseProgressMode(c.progress), c.output, run);
  PrintResultIfRead(TrainSummary(c, result, next));
  return TrainExitCode(result);
}

void RegisterTrain(CLI::App* train, const Globals& globals, Action& action) {
  train->require_subcommand(1);
  train->fallthrough();
  train->footer(
      "Examples:\n  longspan train lm -m start --train book.txt -o first --steps 20 --tokens 128");
  for (const Training& training : kTrainings) {
    CLI::App* added = train->add_subcommand(training.name, training.description);
    training.add(added, globals, action);
  }
}

}  // namespace longspan::cli
