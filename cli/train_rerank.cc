// longspan train rerank: how relevant texts are to queries.

#include <memory>

#include "cli/data_options.h"
#include "cli/pair_options.h"
#include "cli/train_options.h"
#include "cli/trainings.h"

namespace longspan::cli {
namespace {

struct RerankTraining : TrainCommand {
  RerankTraining() : TrainCommand(FineTuneOptions()) { overflow = "truncate"; }
  RerankTrainingOptions task;
  JudgedOptions judged;
};

}  // namespace

void AddTrainRerank(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<RerankTraining>();
  AddDataOptions(command, "Tables or JSON with queries and texts (.csv, .tsv, .jsonl, .json)",
                 c.get());
  command->remove_option(command->get_option("--text-column"));  // rows have columns of their own
  BeginGroup(command, heading::kTexts);
  AddJudgedColumns(command, &c->judged);
  AddOverflowOption(command, &c->overflow);
  BeginGroup(command, heading::kLearning);
  auto* epochs = AddEpochsOption(command, &c->task.epochs);
  const CLI::Option* steps = AddRowTraining(command, epochs, "the first token", c.get());
  command->footer(RowNotes(*command) +
                  "Examples:\n  longspan train rerank -m long --train judged.jsonl -o reranker "
                  "--epochs 1");
  TrainOnRows<RerankTraining>(
      command, c, steps, globals, action,
      [](RerankTraining& own) {
        TakeJudgedColumns(own.judged, &own.task.columns);
        own.task.overflow = text::ParseOverflow(own.overflow, text::kOneRowOverflows);
      },
      TrainReranker, "longspan rerank -m {} QUERY TEXTS.txt --lines");
}

}  // namespace longspan::cli
