// longspan train rerank: how relevant texts are to queries.

#include <fmt/format.h>

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
  AddLongformerOptions(command, "the first token", c.get());
  AddOptimiserOptions(command, c.get());
  AddRhythmOptions(command, c.get());
  AddSelectionOptions(command, c.get());
  const CLI::Option* steps = AddStepsInstead(command, epochs);
  command->footer(kRowNotes +
                  "Examples:\n  longspan train rerank -m long --train judged.jsonl -o reranker "
                  "--epochs 1");
  command->callback([c, steps, &globals, &action] {
    const bool by_steps = steps->count() > 0;
    action = [c, by_steps, &globals] {
      Context context(globals.threads);
      if (by_steps) c->task.epochs = 0.0;
      TakeJudgedColumns(c->judged, &c->task.columns);
      c->task.overflow = OverflowOf(c->overflow);
      c->task.global = GlobalRule::Parse(c->global);
      const TrainOptions options = c->Options(context);
      return RunTrainCommand(
          *c,
          [&](const TrainHooks& hooks) { return TrainReranker(context, options, c->task, hooks); },
          fmt::format("longspan rerank -m {} QUERY TEXTS.txt --lines", c->output));
    };
  });
}

}  // namespace longspan::cli
