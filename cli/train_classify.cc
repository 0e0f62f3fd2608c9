// longspan train classify: a classifier of texts.

#include <fmt/format.h>

#include <memory>

#include "cli/data_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"

namespace longspan::cli {
namespace {

struct ClassifyCommand : TrainCommand {
  ClassifyCommand() : TrainCommand(FineTuneOptions()) {}
  ClassifyOptions task;
  std::string class_weights;
};

}  // namespace

void AddTrainClassify(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<ClassifyCommand>();
  AddDataOptions(command, "Tables or JSON (.csv, .tsv, .jsonl, .json) with labels", c.get());
  BeginGroup(command, heading::kTexts);
  AddLabelOptions(command, &c->options.data.read, false);
  AddOverflowOption(command, &c->overflow);
  command
      ->add_option("--problem", c->problem,
                   "Kind of labels: single, multi (sets), regression; auto takes multi where "
                   "labels are lists")
      ->capture_default_str();
  BeginGroup(command, heading::kLearning);
  auto* epochs = AddEpochsOption(command, &c->task.epochs);
  command
      ->add_option("--class-weights", c->class_weights,
                   "Weights of classes: balanced, or NAME=WEIGHT,NAME=WEIGHT")
      ->type_name("TEXT");
  command
      ->add_option("--label-smoothing", c->task.label_smoothing,
                   "Share of each target that is spread over all classes")
      ->capture_default_str();
  AddLongformerOptions(command, "the first token", c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  const CLI::Option* steps = AddStepsInstead(command, epochs);
  command->footer(kTrainNotes +
                  "Examples:\n  longspan train classify -m long --train train.csv --eval test.csv "
                  "-o judge --epochs 1");
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
      c->task.problem = ParseProblem(c->problem);
      c->task.weights = ClassWeights::Parse(c->class_weights);
      c->task.overflow = OverflowOf(c->overflow);
      c->task.global = GlobalRule::Parse(c->global);
      const TrainOptions options = c->Options(context);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) {
            return TrainClassifier(context, options, c->task, hooks);
          },
          fmt::format("longspan eval -m {} TEST.csv", c->output));
    };
  });
}

}  // namespace longspan::cli
