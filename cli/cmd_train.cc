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

const std::string kSignals =
    kReading + std::string(
                   "And --beta1 --beta2 --allow-nonfinite. Ctrl-C, SIGTERM and SIGHUP save and "
                   "leave; SIGUSR1 saves.");

int RunTask(const TrainCommand& c, const TrainRun& run, const std::string& next) {
  const TrainResult result = RunWithProgress(ParseProgressMode(c.progress), c.output, run);
  PrintResultIfRead(TrainSummary(c, result, next));
  return TrainExitCode(result);
}

// ---- lm -----------------------------------------------------------------------------------------

struct LmCommand : TrainCommand {
  LmCommand() : TrainCommand(TrainOptions()) {}
  LanguageModelOptions task;
  std::string tokenizer;
};

void RegisterLm(CLI::App* train, const Globals& globals, Action& action) {
  auto* command =
      train->add_subcommand("lm", "Reformer: language model of texts, of bytes or of pieces");
  const auto c = std::make_shared<LmCommand>();
  AddDataOptions(command, "files or folders: texts, tables, JSON", c.get());
  command->add_option("--tokenizer", c->tokenizer,
                      "a directory with a tokenizer, or bytes, instead of the model's");
  command
      ->add_option("--documents", c->task.documents,
                   "where one ends: file, blank-line, line; joined: all files are one")
      ->capture_default_str();
  command->add_flag("--packed", c->task.packed,
                    "rows of whole documents that do not see each other");
  AddOptimiserOptions(command, c.get());
  command->add_option("--attention", c->options.attention,
                      "full, local or lsh, instead of the config's");
  command->add_flag("--strict", c->options.strict,
                    "refuse rows that transformers refuses to train on");
  AddPolicyOptions(command, "nothing is kept", c.get());
  AddGradientStreamsOption(command, &c->gradient_streams);
  AddRhythmOptions(command, c.get());
  command->footer(
      std::string("Examples:\n  longspan train lm -m start --train book.txt -o run\n"
                  "  longspan train lm -m start --train a.txt b.txt --eval c.txt -o run --steps "
                  "5000 --resume\n") +
      kSignals);
  command->callback([c, &globals, &action] {
    action = [c, &globals] {
      Context context(globals.threads);
      const TrainOptions options = c->Options(context);
      c->task.tokenizer = c->tokenizer;
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
  MlmCommand() : TrainCommand(FineTuneOptions()) {}
  MaskedLmOptions task;
};

void RegisterMlm(CLI::App* train, const Globals& globals, Action& action) {
  auto* command = train->add_subcommand("mlm", "guess masked tokens of texts");
  const auto c = std::make_shared<MlmCommand>();
  AddDataOptions(command, "files or folders: texts, tables, JSON", c.get());
  command->add_option("--documents", c->task.documents, "where one ends: file, blank-line or line")
      ->capture_default_str();
  command->add_flag("--packed", c->task.packed,
                    "rows of whole documents that do not see each other, instead of joined ones");
  command->add_option("--mask-share", c->task.mask_share, "of the tokens that are to be guessed")
      ->capture_default_str();
  AddLongformerOptions(command, "none", &c->task.global, &c->task.recompute, c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  command->footer(
      std::string("Examples:\n  longspan convert roberta-base long --to longformer --max-pos 4096\n"
                  "  longspan train mlm -m long --train texts.txt -o adapted\n"
                  "  longspan train mlm -m long --train a.txt b.txt --eval c.txt -o adapted "
                  "--tokens 2048 --recompute\n") +
      kSignals);
  command->callback([c, &globals, &action] {
    action = [c, &globals] {
      Context context(globals.threads);
      const TrainOptions options = c->Options(context);
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

void RegisterClassify(CLI::App* train, const Globals& globals, Action& action) {
  auto* command = train->add_subcommand("classify", "classes, sets of labels or numbers of texts");
  const auto c = std::make_shared<ClassifyCommand>();
  AddDataOptions(command, ".csv, .tsv, .jsonl or .json files of texts and labels", c.get());
  AddLabelOptions(command, &c->options.data, false);
  AddColumnOptions(command, &c->task);
  command
      ->add_option("--problem", c->task.problem,
                   "single, multi (sets of labels), regression; auto: multi where labels are lists")
      ->capture_default_str();
  auto* epochs =
      command->add_option("--epochs", c->task.epochs, "over the texts")->capture_default_str();
  AddLongformerOptions(command, "the first token", &c->task.global, &c->task.recompute, c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  auto* steps = command->get_option("--steps");
  steps->description("updates, instead of epochs")->default_str("")->excludes(epochs);
  command->footer(
      std::string("Example:\n  longspan train classify -m long --train train.csv --eval test.csv "
                  "-o judge\n") +
      kSignals);
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
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

void RegisterTrain(CLI::App& app, const Globals& globals, Action& action) {
  auto* train = app.add_subcommand("train", "train a model: lm, mlm, classify");
  train->require_subcommand(1);
  train->fallthrough();
  RegisterLm(train, globals, action);
  RegisterMlm(train, globals, action);
  RegisterClassify(train, globals, action);
}

}  // namespace longspan::cli
