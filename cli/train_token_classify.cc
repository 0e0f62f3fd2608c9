// longspan train token-classify: classes of words.

#include <fmt/format.h>

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
  AddLongformerOptions(command, "none", c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  const CLI::Option* steps = AddStepsInstead(command, epochs);
  command->footer(kTrainNotes +
                  "Examples:\n"
                  "  longspan train token-classify -m long --train train.conll --eval test.conll "
                  "-o ner-run\n"
                  "  longspan train token-classify -m long --train words.jsonl --held-out 0.2 "
                  "-o tagger --steps 2");
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
      c->fields.PutInto(&c->task);
      c->task.overflow = ParseOverflow(c->overflow).value_or(text::Overflow::kWindow);
      c->task.global = GlobalRule::Parse(c->global);
      const TrainOptions options = c->Options(context);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) {
            return TrainTokenClassifier(context, options, c->task, hooks);
          },
          fmt::format("longspan eval -m {} TEST", c->output));
    };
  });
}

}  // namespace longspan::cli
