// longspan train: lm, mlm, classify.

#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/data_options.h"
#include "cli/dtype_option.h"
#include "cli/train_options.h"
#include "cli/training.h"
#include "cli/visual/output.h"

namespace longspan::cli {
namespace {

const std::string kNotes =
    kReading + std::string(
                   "--beta1, --beta2 and --allow-nonfinite work, too. Ctrl-C, SIGTERM and SIGHUP "
                   "save and leave;\nSIGUSR1 saves.\n");

int RunTask(const TrainCommand& c, const TrainRun& run, const std::string& next) {
  const TrainResult result = RunWithProgress(ParseProgressMode(c.progress), c.output, run);
  PrintResultIfRead(TrainSummary(c, result, next));
  return TrainExitCode(result);
}

// ---- lm -----------------------------------------------------------------------------------------

struct LmCommand : TrainCommand {
  LmCommand() : TrainCommand(TrainOptions()) { documents = "joined"; }
  LanguageModelOptions task;
  std::string tokenizer;
};

void AddLm(CLI::App* train, const Globals& globals, Action& action) {
  auto* command = train->add_subcommand(
      "lm", "Train a Reformer as a language model of texts, in bytes or in tokens");
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
  BeginGroup(command, heading::kComputing);
  command->add_option("--attention", c->attention,
                      "Attention of all layers: full, local or lsh (default: the config's)");
  command->add_flag("--strict", c->options.compute.reformer.strict,
                    "Refuse rows that transformers refuses to train on");
  AddPolicyOptions(command, "nothing is kept", c.get());
  AddGradientStreamsOption(command, &c->gradient_streams);
  AddRhythmOptions(command, c.get());
  command->footer(
      kNotes +
      "Examples:\n  longspan train lm -m start --train book.txt -o run --steps 20 --tokens 128\n"
      "  longspan train lm -m start --train a.txt b.txt --eval c.txt -o more --steps "
      "20 --tokens 128");
  command->callback([c, &globals, &action] {
    action = [c, &globals] {
      Context context(globals.threads);
      const TrainOptions options = c->Options(context);
      c->task.tokenizer = c->tokenizer;
      c->task.documents = ParseDocuments(c->documents, true);
      return RunTask(
          *c,
          [&](const TrainHooks& hooks) {
            return TrainLanguageModel(context, options, c->task, hooks);
          },
          fmt::format("longspan generate -m {} -p 'It was'", c->output));
    };
  });
}

// ---- mlm ----------------------------------------------------------------------------------------

struct MlmCommand : TrainCommand {
  MlmCommand() : TrainCommand(FineTuneOptions()) { documents = "file"; }
  MaskedLmOptions task;
};

void AddMlm(CLI::App* train, const Globals& globals, Action& action) {
  auto* command = train->add_subcommand("mlm", "Train a model to guess masked tokens of texts");
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
  AddRhythmOptions(command, c.get());
  command->footer(kNotes +
                  "Examples:\n  longspan convert roberta-base long --to longformer --max-pos 4096\n"
                  "  longspan train mlm -m long --train texts.txt -o adapted --steps 2\n"
                  "  longspan train mlm -m long --train a.txt b.txt --eval c.txt -o more "
                  "--tokens 512 --steps 2");
  command->callback([c, &globals, &action] {
    action = [c, &globals] {
      Context context(globals.threads);
      const TrainOptions options = c->Options(context);
      c->task.documents = ParseDocuments(c->documents);
      c->task.global = GlobalRule::Parse(c->global);
      return RunTask(
          *c,
          [&](const TrainHooks& hooks) { return TrainMaskedLm(context, options, c->task, hooks); },
          fmt::format("longspan eval -m {} TEXT", c->output));
    };
  });
}

// ---- classify -----------------------------------------------------------------------------------

struct ClassifyCommand : TrainCommand {
  ClassifyCommand() : TrainCommand(FineTuneOptions()) {}
  ClassifyOptions task;
};

void AddClassify(CLI::App* train, const Globals& globals, Action& action) {
  auto* command = train->add_subcommand(
      "classify", "Train a classifier of texts: classes, sets of labels or numbers");
  const auto c = std::make_shared<ClassifyCommand>();
  AddDataOptions(command, "Tables or JSON with texts and labels (.csv, .tsv, .jsonl, .json)",
                 c.get());
  BeginGroup(command, heading::kTexts);
  AddLabelOptions(command, &c->options.data.read, false);
  AddOverflowOption(command, &c->overflow);
  command
      ->add_option("--problem", c->problem,
                   "Kind of labels: single, multi (sets), regression; auto takes multi where "
                   "labels are lists")
      ->capture_default_str();
  BeginGroup(command, heading::kLearning);
  auto* epochs = command->add_option("--epochs", c->task.epochs, "Passes over the texts")
                     ->capture_default_str();
  AddLongformerOptions(command, "the first token", c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  auto* steps = command->get_option("--steps");
  steps->description("Number of updates, instead of epochs")->default_str("")->excludes(epochs);
  command->footer(kNotes +
                  "Examples:\n  longspan train classify -m long --train train.csv --eval test.csv "
                  "-o judge --epochs 1");
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
      c->task.problem = ParseProblem(c->problem);
      c->task.overflow = OverflowOf(c->overflow);
      c->task.global = GlobalRule::Parse(c->global);
      const TrainOptions options = c->Options(context);
      return RunTask(
          *c,
          [&](const TrainHooks& hooks) {
            return TrainClassifier(context, options, c->task, hooks);
          },
          fmt::format("longspan eval -m {} TEST.csv", c->output));
    };
  });
}

}  // namespace

void RegisterTrain(CLI::App* train, const Globals& globals, Action& action) {
  train->require_subcommand(1);
  train->fallthrough();
  train->footer(
      "Examples:\n  longspan train lm -m start --train book.txt -o first --steps 20 --tokens 128");
  AddLm(train, globals, action);
  AddMlm(train, globals, action);
  AddClassify(train, globals, action);
}

}  // namespace longspan::cli
