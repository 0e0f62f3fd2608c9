// longspan train embed: vectors of texts.

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
  const CLI::Option* steps = AddRowTraining(command, epochs, "none", c.get());
  command->get_option("--batch")->description(
      "Texts that run together, in rows of --tokens tokens");
  command->get_option("--accumulate")->description("Batches of negatives of one update");
  command->footer(kLossNotes + RowNotes(*command) +
                  "Examples:\n  longspan train embed -m long --train pairs.jsonl -o searcher "
                  "--epochs 1");
  TrainOnRows<EmbedTraining>(
      command, c, steps, globals, action,
      [](EmbedTraining& own) {
        TakePairOptions(own.pairs, &own.task);
        if (!own.pooling.empty()) own.task.pooling = ParsePooling(own.pooling);
      },
      TrainEmbedder, "longspan embed -m {} TEXTS.txt --lines");
}

}  // namespace longspan::cli
