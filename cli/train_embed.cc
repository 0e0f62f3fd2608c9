// longspan train embed: vectors of texts.

#include <fmt/format.h>

#include <memory>

#include "cli/data_options.h"
#include "cli/pair_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"

namespace longspan::cli {
namespace {

struct EmbedTraining : TrainCommand {
  EmbedTraining() : TrainCommand(FineTuneOptions()) { options.accumulate = 1; }
  EmbedTrainingOptions task;
  PairOptions pairs;
  std::string pooling;
};

}  // namespace

void AddTrainEmbed(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<EmbedTraining>();
  AddDataOptions(command, "Files of pairs: .csv, .tsv, .jsonl, .json", c.get());
  command->remove_option(command->get_option("--text-column"));  // rows have columns of their own
  BeginGroup(command, heading::kTexts);
  AddPairOptions(command, &c->pairs, &c->task);
  BeginGroup(command, heading::kLearning);
  AddVectorLossOptions(command, &c->pairs, &c->task);
  command->add_option("--pooling", c->pooling,
                      "Pooling: mean, cls, max, ... (default: the folder's, else mean)");
  auto* epochs = AddEpochsOption(command, &c->task.epochs);
  AddLongformerOptions(command, "none", c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  const CLI::Option* steps = AddStepsInstead(command, epochs);
  command->get_option("--batch")->description(
      "Texts that run together, in rows of --tokens tokens");
  command->get_option("--accumulate")->description("Batches of negatives of one update");
  command->footer(kLossNotes + kRowNotes +
                  "Examples:\n  longspan train embed -m long --train pairs.jsonl -o searcher "
                  "--epochs 1");
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
      TakePairOptions(c->pairs, &c->task);
      if (!c->pooling.empty()) c->task.pooling = ParsePooling(c->pooling);
      c->task.global = GlobalRule::Parse(c->global);
      const TrainOptions options = c->Options(context);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) { return TrainEmbedder(context, options, c->task, hooks); },
          fmt::format("longspan embed -m {} TEXTS.txt --lines", c->output));
    };
  });
}

}  // namespace longspan::cli
