// longspan train qa: answers to questions about texts.

#include <fmt/format.h>

#include <memory>

#include "cli/data_options.h"
#include "cli/option_checks.h"
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
  AddLongformerOptions(command, "the question", c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  const CLI::Option* steps = AddStepsInstead(command, epochs);
  command->footer(kTrainNotes +
                  "Examples:\n"
                  "  longspan train qa -m long --train squad-train.json --eval squad-test.json "
                  "-o answer-run\n"
                  "  longspan train qa -m long --train questions.jsonl --held-out 0.2 -o answer "
                  "--steps 2");
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
      c->task.overflow = ParseOverflow(c->overflow).value_or(text::Overflow::kWindow);
      c->task.global = GlobalRule::Parse(c->global);
      const TrainOptions options = c->Options(context);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) {
            return TrainQuestionAnswering(context, options, c->task, hooks);
          },
          fmt::format("longspan eval -m {} TEST.json", c->output));
    };
  });
}

}  // namespace longspan::cli
