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

TaskAnswer AnswerOf(const ClassifyCommand& c, const TextModelInfo& info, const std::string& name,
                    const ClassifiedText& text) {
  const ScoreKind kind = ScoresOf(info);
  const idx_t most = c.top > 0 ? c.top : static_cast<idx_t>(text.scores.size());
  auto list = nlohmann::ordered_json::array();
  for (const idx_t label : Largest(text.scores, most)) {
    const auto at = static_cast<std::size_t>(label);
    list.push_back({{"label", info.labels[at]}, {"score", text.scores[at]}});
  }
  std::string line = ShownName(name);
  for (const idx_t label : Shown(c, kind, text)) {
    const auto at = static_cast<std::size_t>(label);
    line += fmt::format("\t{} {:.4f}", Printable(info.labels[at]), text.scores[at]);
  }
  return {{{"scores_are", ScoreKindName(kind)}, {"labels", std::move(list)}}, line + "\n"};
}

int RunClassify(const ClassifyCommand& c, int threads) {
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, "classify", TextHead::kSequence, threads);
  return AnswerTexts(run, inputs, run.PlainText(), [&](const TaskChunk& chunk) {
    const auto classified = Classify(run.context(), run.model(), chunk.rows);
    std::vector<TaskAnswer> answers;
    for (std::size_t i = 0; i < classified.size(); ++i) {
      answers.push_back(AnswerOf(c, run.model().info(), chunk.names[i], classified[i]));
    }
    return answers;
  });
}

}  // namespace

void RegisterClassify(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<ClassifyCommand>();
  AddTaskOptions(*command, c->task);
  command
      ->add_option(
          "--top", c->top,
          "Number of labels to show (default: the best one; of sets those above --threshold)")
      ->check(CLI::Range(1, 100000));
  command
      ->add_option("--threshold", c->threshold,
                   "Least probability of a label of a set that is shown")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->footer(
      "A text in several windows gets the mean over them, weighted by their tokens.\n"
      "Tables and JSON have \"text\", and \"text_pair\" where texts come in pairs.\n"
      "Examples:\n"
      "  longspan classify -m judge letters/\n"
      "  longspan classify -m judge reviews.jsonl --top 3 --json\n"
      "  longspan classify -m judge --text 'As good as it gets.' --overflow error");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunClassify(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
