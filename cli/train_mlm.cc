// longspan train mlm: a masked language model.

#include <fmt/format.h>

#include <memory>

#include "cli/data_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"

namespace longspan::cli {
namespace {

struct MlmCommand : TrainCommand {
  MlmCommand() : TrainCommand(FineTuneOptions()) { documents = "file"; }
  MaskedLmOptions task;
};

}  // namespace

void AddTrainMlm(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<MlmCommand>();
  AddDataOptions(command, "Files or folders to learn from: texts, tables, JSON", c.get());
  BeginGroup(command, heading::kTexts);
  command
      ->add_option("--documents", c->documents, "Where a document ends: file, blank-line or line")
      ->capture_default_str();
  command->add_flag(
      "--packed", c->task.packed,
      "Fill rows with whole documents that do not see each other, instead of joined ones");
  command
      ->add_option("--mask-share", c->task.mask_share, "Share of the tokens that are to be guessed")
      ->capture_default_str();
  AddLongformerOptions(command, "none", c.get());
  AddOptimiserOptions(command, c.get());
  AddLengthsOption(command, c.get());
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  command->footer(TrainNotes(*command) +
                  "Examples:\n  longspan convert roberta-base long --to longformer --max-pos 4096\n"
                  "  longspan train mlm -m long --train texts.txt -o adapted --steps 2\n"
                  "  longspan train mlm -m long --train a.txt b.txt --eval c.txt -o more "
                  "--tokens 512 --steps 2");
  command->callback([c, &globals, &action] {
    action = [c, &globals] {
      Context context = RankContext(globals);
      const TrainOptions options = c->Options(context);
      c->task.documents = ParseDocuments(c->documents);
      c->task.global = GlobalRule::Parse(c->global);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) { return TrainMaskedLm(context, options, c->task, hooks); },
          fmt::format("longspan eval -m {}{}{}", ShellWord(c->output), HeldOutFile(options),
                      RepeatedOptions(*c->command)));
    };
  });
}

}  // namespace longspan::cli
