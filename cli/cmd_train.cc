// longspan train: the table of trainings, and what all of them do at the end.

#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/data_options.h"
#include "cli/help.h"
#include "cli/trainings.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/files.h"

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
    {"token-classify", AddTrainTokenClassify,
     "Train classes of words: names of people and places, parts of speech"},
    {"qa", AddTrainQa, "Train a model to mark the answers to questions in texts"},
    {"multiple-choice", AddTrainMultipleChoice, "Train a model to choose among answers"},
    {"embed", AddTrainEmbed, "Train vectors of texts on pairs, triplets or scored pairs"},
    {"rerank", AddTrainRerank, "Train a model to judge how relevant a text is to a query"},
};

// The last lines of every page.
std::string RunNotes(const CLI::App& command) {
  return fmt::format(
      "'longspan help --all {}' describes more options: --config FILE,\n"
      "--max-time 30m, --freeze NAMES, --train-only NAMES, --head-lr RATE, --tensorboard,\n"
      "--allow-nonfinite, --row-ranks R (mpirun); --beta1, --beta2 (AdamW), --beta2-decay,\n"
      "--update-clip (Adafactor), --momentum, --nesterov (SGD). Ctrl-C, SIGTERM and SIGHUP save\n"
      "and leave; SIGUSR1 saves.\n",
      CommandPath(&command));
}

// Options about reading texts that a training and `longspan eval` have in common. The run's folder
// says how long its rows are.
constexpr const char* kRepeatedOptions[] = {
    "--format",       "--encoding",     "--skip-bad",   "--text-column", "--text-pair-column",
    "--label-column", "--token-column", "--tag-column", "--span-field",  "--label-names",
    "--overflow",     "--stride",       "--max-answer"};

}  // namespace

std::string RepeatedOptions(const CLI::App& command) {
  std::string text;
  for (const char* name : kRepeatedOptions) {
    const CLI::Option* option = command.get_option_no_throw(name);
    if (option == nullptr || option->count() == 0) continue;
    text += fmt::format(" {}", name);
    if (option->get_items_expected_max() == 0) continue;  // a flag
    std::string value;
    for (const std::string& part : option->results()) value += (value.empty() ? "" : ",") + part;
    text += fmt::format(" {}", ShellWord(value));
  }
  return text;
}

std::string HeldOutFile(const TrainOptions& options) {
  const TrainData& data = options.data;
  std::string file = "TEXT";
  double share = 1.0;
  if (!data.eval.empty()) {
    file = ShellWord(data.eval.string());
  } else if (data.train.size() == 1) {
    file = ShellWord(data.train.front().string());
    share = data.held_out;
  }
  const idx_t tokens = options.lengths.empty() ? options.tokens : options.lengths.back().tokens;
  return fmt::format(" {} --held-out {}{}", file, share,
                     tokens > 0 ? fmt::format(" --tokens {}", tokens) : std::string());
}

std::string TrainNotes(const CLI::App& command) { return kReading + RunNotes(command); }
std::string RowNotes(const CLI::App& command) { return kReadingRows + RunNotes(command); }

int RunTrainCommand(const TrainCommand& c, const TrainRun& run, const std::string& next,
                    std::string_view counted) {
  // As soon as the output is this run's, beside its first checkpoint.
  const TrainRun with_config = [&](const TrainHooks& hooks) {
    TrainHooks more = hooks;
    more.on_event = [&](const TrainEvent& event) {
      if (event.kind == TrainEvent::Kind::kStart && Speaks()) {
        // Several ranks may have raised it.
        CLI::Option* accumulate = c.command->get_option("--accumulate");
        if (accumulate->count() == 0) accumulate->default_str(std::to_string(event.accumulate));
        const std::filesystem::path folder = c.output;
        io::WriteFileAtomic(folder / kConfigName, ConfigFileText(*c.command));
      }
      hooks.on_event(event);
    };
    return run(more);
  };
  const ProgressMode mode = ParseProgressMode(c.progress);
  const TrainResult result =
      RunWithProgress(Speaks() ? mode : ProgressMode::kNone, c.output, with_config, counted);
  if (Speaks()) PrintResultIfRead(TrainSummary(c, result, next));
  return TrainExitCode(result);
}

const CLI::Option* AddRowTraining(CLI::App* command, CLI::Option* epochs, const std::string& global,
                                  TrainCommand* c) {
  AddLongformerOptions(command, global, c);
  AddOptimiserOptions(command, c);
  AddRhythmOptions(command, c);
  AddSelectionOptions(command, c);
  return AddStepsInstead(command, epochs);
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
