// longspan train token-classify: classes of words.

#include <memory>

#include "cli/data_options.h"
#include "cli/token_class_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"

namespace longspan::cli {
namespace {

struct TokenClassifyTraining : TrainCommand {
  TokenClassifyTraining() : TrainCommand(FineTuneOptions()) { overflow = "window"; }
  TokenClassOptions task;
  TokenClassFields fields;
  std::string class_weights;
};

}  // namespace

void AddTrainTokenClassify(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<TokenClassifyTraining>();
  AddDataOptions(command, "Words with tags: CoNLL's columns, JSON or tables", c.get());
  BeginGroup(command, heading::kTexts);
  AddTokenClassFields(command, &c->fields);
  AddWindowOptions(command, &c->overflow, &c->task.stride);
  BeginGroup(command, heading::kLearning);
  auto* epochs = AddEpochsOption(command, &c->task.epochs);
  AddClassWeightsOption(command, "tags", &c->class_weights);
  const CLI::Option* steps = AddRowTraining(command, epochs, "none", c.get());
  command->footer(TrainNotes(*command) +
                  "Examples:\n"
                  "  longspan train token-classify -m long --train train.conll --eval test.conll "
                  "-o ner-run\n"
                  "  longspan train token-classify -m long --train words.jsonl --held-out 0.2 "
                  "-o tagger --steps 2");
  TrainOnRows<TokenClassifyTraining>(
      command, c, steps, globals, action,
      [](TokenClassifyTraining& own) {
        own.fields.PutInto(&own.task);
        own.task.weights = ClassWeights::Parse(own.class_weights);
        own.task.overflow = ParseOverflow(own.overflow).value_or(text::Overflow::kWindow);
      },
      TrainTokenClassifier, "longspan eval -m {} TEST{}");
}

}  // namespace longspan::cli
