// longspan train qa: answers to questions about texts.

#include <memory>

#include "cli/data_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"
#include "longspan/head_training.h"

namespace longspan::cli {
namespace {

struct QaTraining : TrainCommand {
  QaTraining() : TrainCommand(FineTuneOptions()) { overflow = "window"; }
  AnswerTaskOptions task;
};

}  // namespace

void AddTrainQa(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<QaTraining>();
  AddDataOptions(command, "Questions with answers: SQuAD's .json, JSON lines or tables", c.get());
  BeginGroup(command, heading::kTexts);
  AddWindowOptions(command, &c->overflow, &c->task.stride);
  command->add_option("--max-answer", c->task.longest, "Longest answer in tokens, in evaluations")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  BeginGroup(command, heading::kLearning);
  auto* epochs = AddEpochsOption(command, &c->task.epochs);
  const CLI::Option* steps = AddRowTraining(command, epochs, "the question", c.get());
  command->footer(TrainNotes(*command) +
                  "Examples:\n"
                  "  longspan train qa -m long --train squad-train.json --eval squad-test.json "
                  "-o answer-run\n"
                  "  longspan train qa -m long --train questions.jsonl --held-out 0.2 -o answer "
                  "--steps 2");
  TrainOnRows<QaTraining>(
      command, c, steps, globals, action,
      [](QaTraining& own) {
        own.task.overflow = ParseOverflow(own.overflow).value_or(text::Overflow::kWindow);
      },
      TrainQuestionAnswering, "longspan eval -m {} TEST.json{}");
}

}  // namespace longspan::cli
