// longspan train multiple-choice: which of several answers fits.

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
  const CLI::Option* steps = AddRowTraining(command, epochs, "the choices", c.get());
  command->footer(TrainNotes(*command) +
                  "Examples:\n"
                  "  longspan train multiple-choice -m long --train choices.jsonl --held-out 0.2 "
                  "-o choose --steps 2");
  TrainOnRows<ChoiceTraining>(
      command, c, steps, globals, action,
      [](ChoiceTraining& own) {
        own.task.overflow = text::ParseOverflow(own.overflow, text::kOneRowOverflows);
      },
      TrainMultipleChoice, "longspan eval -m {} TEST.jsonl{}");
}

}  // namespace longspan::cli
