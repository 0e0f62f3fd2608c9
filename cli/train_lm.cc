// longspan train lm: a language model.

#include <fmt/format.h>

#include <memory>

#include "cli/data_options.h"
#include "cli/dtype_option.h"
#include "cli/train_options.h"
#include "cli/trainings.h"

namespace longspan::cli {
namespace {

struct LmCommand : TrainCommand {
  LmCommand() : TrainCommand(TrainOptions()) { documents = "joined"; }
  LanguageModelOptions task;
  std::string tokenizer;
};

}  // namespace

void AddTrainLm(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<LmCommand>();
  AddDataOptions(command, "Files or folders to learn from: texts, tables, JSON", c.get());
  BeginGroup(command, heading::kTexts);
  command->add_option("--tokenizer", c->tokenizer,
                      "Folder of a tokenizer, or bytes (default: the model's)");
  command
      ->add_option("--documents", c->documents,
                   "Where a document ends: file, blank-line or line; joined makes one of all files")
      ->capture_default_str();
  command->add_flag("--packed", c->task.packed,
                    "Fill rows with whole documents that do not see each other");
  AddOptimiserOptions(command, c.get());
  AddLengthsOption(command, c.get());
  BeginGroup(command, heading::kComputing);
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  command->add_flag("--strict", c->options.compute.reformer.strict,
                    "Refuse rows that transformers refuses to train on");
  AddPolicyOptions(command, "nothing is kept", c.get());
  AddGradientStreamsOption(command, &c->gradient_streams);
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  command->footer(
      TrainNotes(*command) +
      "Examples:\n  longspan train lm -m start --train book.txt -o run --steps 20 --tokens 128\n"
      "  longspan train lm -m start --train a.txt b.txt --eval c.txt -o more --steps "
      "20 --tokens 128");
  command->callback([c, &globals, &action] {
    action = [c, &globals] {
      Context context = RankContext(globals);
      const TrainOptions options = c->Options(context);
      c->task.tokenizer = c->tokenizer;
      c->task.documents = ParseDocuments(c->documents, true);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) {
            return TrainLanguageModel(context, options, c->task, hooks);
          },
          fmt::format("longspan generate -m {} -p 'It was'   longspan eval -m {}{}",
                      ShellWord(c->output), ShellWord(c->output), HeldOutFile(options)),
          c->task.packed ? "rows" : "tokens");
    };
  });
}

}  // namespace longspan::cli
