// longspan token-classify: names and other classes of words.

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "tasks/token_classes.h"

namespace longspan::cli {
namespace {

struct TokenClassifyCommand {
  TaskCommand task;
  std::string aggregate = "simple";
};

int RunTokenClassify(const TokenClassifyCommand& c, int threads) {
  const Aggregation aggregation = ParseAggregation(c.aggregate);
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, LongformerHead::kToken, threads);
  auto results = nlohmann::ordered_json::array();
  for (TaskChunk chunk; run.NextChunk(inputs, text::Overflow::kWindow, chunk);) {
    const auto spans = ClassifyTokens(run.context(), run.model(), chunk.rows, aggregation);
    for (std::size_t i = 0; i < spans.size(); ++i) {
      auto j = run.Describe(chunk.inputs[i], chunk.rows, static_cast<idx_t>(i));
      j["entities"] = nlohmann::ordered_json::array();
      std::string shown;
      for (const TokenClass& span : spans[i]) {
        const std::string word(Piece(chunk.texts[i].text, span.bytes));
        j["entities"].push_back({{"label", span.label},
                                 {"score", span.score},
                                 {"word", word},
                                 {"start", span.chars.begin},
                                 {"end", span.chars.end}});
        shown +=
            fmt::format("{}:{}-{}\t{} {:.4f}\t{}\n", ShownName(chunk.names[i]), span.chars.begin,
                        span.chars.end, Printable(span.label), span.score, Printable(word));
      }
      if (c.task.json)
        results.push_back(std::move(j));
      else
        PrintResult(shown);
    }
  }
  c.task.json ? run.Finish(c.task, "token-classify", std::move(results)) : run.Finish();
  return 0;
}

}  // namespace

void RegisterTokenClassify(CLI::App& app, const Globals& globals, Action& action) {
  auto* command = app.add_subcommand("token-classify", "names and other classes of words");
  const auto c = std::make_shared<TokenClassifyCommand>();
  AddTaskOptions(*command, c->task);
  command->add_option("--aggregate", c->aggregate, "none, simple, first, average or max")
      ->capture_default_str();
  command->footer(
      "Of overlapping windows (--stride) the one that sees more around a token decides.\n"
      "Examples:\n"
      "  longspan token-classify -m ner letter.txt --stride 128\n"
      "  longspan token-classify -m ner letters/ --aggregate first --json");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunTokenClassify(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
