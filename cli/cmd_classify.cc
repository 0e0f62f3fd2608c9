// longspan classify: what whole texts are about.

#include <fmt/format.h>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "tasks/classify.h"
#include "tasks/scores.h"

namespace longspan::cli {
namespace {

struct ClassifyCommand {
  TaskCommand task;
  idx_t top = 0;
  double threshold = 0.5;
};

// Places of the labels to show, the best first.
std::vector<idx_t> Shown(const ClassifyCommand& c, ScoreKind kind, const ClassifiedText& text) {
  const auto all = static_cast<idx_t>(text.scores.size());
  if (kind == ScoreKind::kValues) return Largest(text.scores, c.top > 0 ? c.top : all);
  if (c.top > 0 || kind == ScoreKind::kClasses)
    return Largest(text.scores, std::max<idx_t>(1, c.top));
  std::vector<idx_t> shown;
  for (const idx_t label : Largest(text.scores, all)) {
    if (text.scores[static_cast<std::size_t>(label)] >= c.threshold) shown.push_back(label);
  }
  return shown;
}

int RunClassify(const ClassifyCommand& c, int threads) {
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, LongformerHead::kSequence, threads);
  const std::vector<std::string> labels = run.model().config().labels;
  const ScoreKind kind = ScoresOf(run.model().config());
  auto results = nlohmann::ordered_json::array();
  for (TaskChunk chunk; run.NextChunk(inputs, text::Overflow::kWindow, chunk);) {
    const auto classified = Classify(run.context(), run.model(), chunk.rows);
    for (std::size_t i = 0; i < classified.size(); ++i) {
      const std::vector<double>& scores = classified[i].scores;
      if (c.task.json) {
        auto j = run.Describe(chunk.inputs[i], chunk.rows, static_cast<idx_t>(i));
        j["scores_are"] = ScoreKindName(kind);
        auto list = nlohmann::ordered_json::array();
        for (const idx_t label :
             Largest(scores, c.top > 0 ? c.top : static_cast<idx_t>(scores.size()))) {
          const auto at = static_cast<std::size_t>(label);
          list.push_back({{"label", labels[at]}, {"score", scores[at]}});
        }
        j["labels"] = std::move(list);
        results.push_back(std::move(j));
        continue;
      }
      std::string line = ShownName(chunk.names[i]);
      for (const idx_t label : Shown(c, kind, classified[i])) {
        const auto at = static_cast<std::size_t>(label);
        line += fmt::format("\t{} {:.4f}", Printable(labels[at]), scores[at]);
      }
      PrintResult(line + "\n");
    }
  }
  c.task.json ? run.Finish(c.task, "classify", std::move(results)) : run.Finish();
  return 0;
}

}  // namespace

void RegisterClassify(CLI::App& app, const Globals& globals, Action& action) {
  auto* command = app.add_subcommand("classify", "classes, labels or a number for whole texts");
  const auto c = std::make_shared<ClassifyCommand>();
  AddTaskOptions(*command, c->task);
  command->add_option("--top", c->top, "labels to show (default: the best; of sets, see below)")
      ->check(CLI::Range(1, 100000));
  command->add_option("--threshold", c->threshold, "of sets of labels, those at least this likely")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->footer(
      "A text in several windows gets the mean over them, weighted by their tokens.\n"
      "JSON lines have \"text\", and \"text_pair\" where texts come in pairs.\n"
      "Examples:\n"
      "  longspan classify -m run letters/ \n"
      "  longspan classify -m run reviews.jsonl --top 3 --json\n"
      "  longspan classify -m run --text 'As good as it gets.' --overflow error");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunClassify(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
