// longspan train classify: a classifier of texts.

#include <memory>

#include "cli/data_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"

namespace longspan::cli {
namespace {

struct ClassifyTraining : TrainCommand {
  ClassifyTraining() : TrainCommand(FineTuneOptions()) {}
  ClassifyOptions task;
  std::string class_weights, window_loss = "each";
};

}  // namespace

void AddTrainClassify(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<ClassifyTraining>();
  AddDataOptions(command,
                 "Tables or JSON with labels, lines that begin with __label__NAME, or folders that "
                 "are named as the labels of their texts",
                 c.get());
  BeginGroup(command, heading::kTexts);
  AddLabelOptions(command, &c->options.data.read, false);
  AddWindowOptions(command, &c->overflow, &c->task.stride);
  command
      ->add_option("--window-loss", c->window_loss,
                   "Learn each window, or their mean: each or mean")
      ->capture_default_str();
  command->add_option("--problem", c->problem, "Labels: single, multi (sets), regression or auto")
      ->capture_default_str();
  BeginGroup(command, heading::kLearning);
  auto* epochs = AddEpochsOption(command, &c->task.epochs);
  AddClassWeightsOption(command, "classes", &c->class_weights);
  command
      ->add_option("--label-smoothing", c->task.label_smoothing,
                   "Share of each target that is spread over all classes")
      ->capture_default_str();
  const CLI::Option* steps = AddRowTraining(command, epochs, "the first token", c.get());
  command->footer(
      TrainNotes(*command) +
      "With --overflow window each window of a text is a row with the text's label. A\n"
      "held-out text gets the mean of its windows' scores, as classify answers it.\n"
      "With --window-loss mean that mean is what is learned: --batch counts texts, and\n"
      "their windows run as many at a time, twice: about a third more work.\n"
      "Examples:\n"
      "  longspan train classify -m long --train train.csv --eval test.csv -o judge "
      "--epochs 1\n"
      "  longspan train classify -m long --train train.csv -o parts --tokens 64 "
      "--overflow window\n"
      "  longspan train classify -m long --train train.csv -o whole "
      "--overflow window --window-loss mean");
  TrainOnRows<ClassifyTraining>(
      command, c, steps, globals, action,
      [](ClassifyTraining& own) {
        own.task.problem = ParseProblem(own.problem);
        own.task.weights = ClassWeights::Parse(own.class_weights);
        own.task.window_loss = ParseWindowLoss(own.window_loss);
        own.task.overflow = ParseOverflow(own.overflow).value_or(text::Overflow::kError);
      },
      TrainClassifier, "longspan eval -m {} TEST.csv{}");
}

}  // namespace longspan::cli
