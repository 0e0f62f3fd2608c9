// Every kind of training, in one table: a new one is a file with its function AddTrain..., that
// function's name below and one line of the table in cmd_train.cc.
#pragma once

#include <fmt/format.h>

#include <memory>
#include <string>

#include "cli/option_checks.h"
#include "cli/ranks.h"
#include "cli/train_options.h"
#include "cli/training.h"
#include "cli/visual/command.h"
#include "cli/visual/text.h"

namespace longspan::cli {

// Each adds the options and the footer of `longspan train NAME` to a command that the table has
// made.
Register AddTrainClassify, AddTrainEmbed, AddTrainLm, AddTrainMlm, AddTrainMultipleChoice,
    AddTrainQa, AddTrainRerank, AddTrainTokenClassify;

// The last lines of a training's page, before its examples.
std::string TrainNotes(const CLI::App& command);
// The same without the names of columns, for rows whose columns have options of their own.
std::string RowNotes(const CLI::App& command);

// Trains with progress and prints the result; `next` is the command that uses the trained model.
// `counted`: what its evaluations count.
int RunTrainCommand(const TrainCommand& c, const TrainRun& run, const std::string& next,
                    std::string_view counted = "rows");

// What stands behind the options of learning that a training over rows has of its own: computing,
// optimizer, output, choice of the best model, --steps instead of `epochs`. `global`: what auto
// makes global. Returns --steps.
const CLI::Option* AddRowTraining(CLI::App* command, CLI::Option* epochs, const std::string& global,
                                  TrainCommand* c);

// The options of files, columns, fields and long texts that were given, as a shell reads them, each
// after a blank: what an evaluation of the trained model needs to read a file of the same kind as
// its held-out texts were read. Empty: none was.
std::string RepeatedOptions(const CLI::App& command);

// " book.txt --held-out 0.05 --tokens 128": what measures a language model on the held-out text of
// its training, as far as a command line can: a TEXT stands for the held-out end of several files.
std::string HeldOutFile(const TrainOptions& options);

// Lets `command` run `train` of the library. `c` has the command line and c->task, the options of
// the task; take(c) reads the one into the other. `next` is the command that uses the trained
// model, with {} for its folder and, if it is an evaluation, another {} for RepeatedOptions. Both
// `globals` and `action` outlive the command.
template <class Command, class Task>
void TrainOnRows(CLI::App* command, const std::shared_ptr<Command>& c, const CLI::Option* steps,
                 const Globals& globals, Action& action, void (*take)(Command& c),
                 TrainResult (*train)(Context&, const TrainOptions&, const Task&,
                                      const TrainHooks&),
                 const char* next) {
  command->callback([=, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [=, &globals] {
      Context context = RankContext(globals);
      CheckStrideHasWindows(*command, c->overflow);
      if (by_steps) c->task.epochs = 0.0;
      c->task.global = GlobalRule::Parse(c->global);
      take(*c);
      const TrainOptions options = c->Options(context);
      const TrainRun run = [&](const TrainHooks& hooks) {
        return train(context, options, c->task, hooks);
      };
      return RunTrainCommand(
          *c, run,
          fmt::format(fmt::runtime(next), ShellWord(c->output), RepeatedOptions(*command)));
    };
  });
}

}  // namespace longspan::cli
