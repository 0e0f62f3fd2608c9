// longspan train multiple-choice: which of several answers fits.

#include <fmt/format.h>

#include <memory>

#include "cli/data_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"
#include "longspan/head_training.h"

namespace longspan::cli {
namespace {

struct ChoiceTraining : TrainCommand {
  ChoiceTraining() : TrainCommand(FineTuneOptions()) {}
  ChoiceTaskOptions task;
};

}  // namespace

void AddTrainMultipleChoice(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<ChoiceTraining>();
  AddDataOptions(command, "Questions with choices: JSON or tables, also SWAG's and RACE's",
                 c.get());
  BeginGroup(command, heading::kTexts);
  AddLabelOption(command, &c->options.data.read,
                 "Column or field of the right choice (default: label, or answer)");
  AddOverflowOption(command, &c->overflow);
  BeginGroup(command, heading::kLearning);
  auto* epochs = AddEpochsOption(command, &c->task.epochs);
  AddLongformerOptions(command, "the choices", c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  const CLI::Option* steps = AddStepsInstead(command, epochs);
  command->footer(kTrainNotes +
                  "Examples:\n"
                  "  longspan train multiple-choice -m long --train choices.jsonl --held-out 0.2 "
                  "-o choose --steps 2");
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
      c->task.overflow = OverflowOf(c->overflow);
      c->task.global = GlobalRule::Parse(c->global);
      const TrainOptions options = c->Options(context);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) {
            return TrainMultipleChoice(context, options, c->task, hooks);
          },
          fmt::format("longspan eval -m {} TEST.jsonl", c->output));
    };
  });
}

}  // namespace longspan::cli
