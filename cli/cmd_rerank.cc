// longspan rerank: texts in the order of their relevance to a query.

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/option_checks.h"
#include "cli/task_run.h"
#include "cli/visual/stderr_lines.h"
#include "cli/visual/text.h"
#include "longspan/files.h"
#include "longspan/tasks.h"

namespace longspan::cli {
namespace {

struct RerankCommand {
  TaskCommand task;
  std::string query;
  idx_t top = 0;  // texts to show; 0: all
  bool raw = false;
};

// A text that has been scored, without the text.
struct RankedInput {
  nlohmann::ordered_json described;
  std::string name;
};

TaskAnswer RankedAnswer(const RerankCommand& c, const RankedText& ranked,
                        const RankedInput& input) {
  const double score = c.raw ? ranked.logit : ranked.score;
  TaskAnswer answer{{{"score", score}, {"logit", ranked.logit}},
                    fmt::format("{}\t{:.4f}", ShownName(input.name), score)};
  if (input.described.value("windows", 1) > 1) {
    answer.fields["chars"] = SpanJson(ranked.chars);
    answer.shown += fmt::format("\tcharacters {}-{}", ranked.chars.begin, ranked.chars.end);
  }
  answer.shown += '\n';
  return answer;
}

int RunRerank(const RerankCommand& c, int threads) {
  CheckGivenText("QUERY", c.query);
  TextInputs inputs(c.task.inputs, {{c.task.inputs.data.text_field, true}});
  TaskRun run(c.task, "rerank", HeadKind::kSequence, threads);
  const Reranker reranker(run.model());
  run.Use(reranker.model());
  run.members = {{"query", c.query}, {"activation", c.raw ? "none" : reranker.activation()}};
  if (!reranker.prompt().empty() && !c.task.quiet) {
    TellLine(fmt::format("prompt stands before the query: \"{}\"", io::Escape(reranker.prompt())));
  }
  const auto pair_of = [&](const InputText& input) {
    return reranker.Prepare(
        c.query, input.has_fields ? input.Text(c.task.inputs.data.text_field) : input.text);
  };
  std::vector<RankedText> ranked;
  std::vector<RankedInput> ranked_inputs;
  for (TaskChunk chunk; run.NextChunk(inputs, pair_of, chunk);) {
    for (RankedText one : reranker.Score(run.context(), chunk.rows)) {
      const auto i = static_cast<std::size_t>(one.text);
      ranked_inputs.push_back(
          {run.Describe(chunk.inputs[i], chunk.rows, one.text), chunk.names[i]});
      one.text = static_cast<idx_t>(ranked_inputs.size()) - 1;
      ranked.push_back(one);
    }
  }
  KeepBest(ranked, c.top > 0 ? c.top : static_cast<idx_t>(ranked.size()));
  for (const RankedText& one : ranked) {
    const RankedInput& input = ranked_inputs[static_cast<std::size_t>(one.text)];
    run.Add(input.described, RankedAnswer(c, one, input));
  }
  return run.Finish();
}

}  // namespace

void RegisterRerank(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<RerankCommand>();
  command->add_option("QUERY", c->query, "Question or words that the texts are to fit")
      ->required()
      ->type_name("QUERY");
  c->task.inputs.pairs = false;
  AddTaskOptions(*command, c->task);
  command->add_option("--top", c->top, "Number of texts to show, the best first (default: all)")
      ->check(AtLeast(1));
  command->add_flag("--raw", c->raw,
                    "Show the model's own number instead of what the activation makes of it");
  command->footer(
      "The model is a classifier with one label, such as a CrossEncoder of sentence-transformers.\n"
      "Scores are sigmoids (0 to 1) unless its files name another activation. A text in several\n"
      "windows gets the score of its best window, whose place in characters is shown.\n"
      "Examples:\n"
      "  longspan rerank -m reranker 'who went to sea?' letters/\n"
      "  longspan rerank -m reranker 'who went to sea?' passages.jsonl --top 10 --json\n"
      "  longspan rerank -m reranker 'sea' --text 'A ship.' --text 'A house.' --raw");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunRerank(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
