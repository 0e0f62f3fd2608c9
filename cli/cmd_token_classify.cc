// longspan token-classify: names and other classes of words.

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/tasks.h"

namespace longspan::cli {
namespace {

struct TokenClassifyCommand {
  TaskCommand task;
  std::string aggregate = "simple";
};

TaskAnswer AnswerOf(const std::string& name, std::string_view text,
                    const std::vector<TokenClass>& spans) {
  TaskAnswer answer;
  auto entities = nlohmann::ordered_json::array();
  for (const TokenClass& span : spans) {
    const std::string word(Piece(text, span.bytes));
    entities.push_back({{"label", span.label},
                        {"score", span.score},
                        {"word", word},
                        {"start", span.chars.begin},
                        {"end", span.chars.end}});
    answer.shown += fmt::format("{}:{}-{}\t{} {:.4f}\t{}\n", ShownName(name), span.chars.begin,
                                span.chars.end, Printable(span.label), span.score, Printable(word));
  }
  answer.fields["entities"] = std::move(entities);
  return answer;
}

// A line for each entity.
AnswerTable EntityTable() {
  return {{"label", "score", "word", "start", "end"}, [](const nlohmann::ordered_json& fields) {
            return LinesOf(fields.at("entities"), {"label", "score", "word", "start", "end"});
          }};
}

int RunTokenClassify(const TokenClassifyCommand& c, int threads) {
  const Aggregation aggregation = ParseAggregation(c.aggregate);
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, "token-classify", HeadKind::kToken, threads);
  run.table = EntityTable();
  return AnswerTexts(
      run, inputs, run.PlainText(), [&](const TaskChunk& chunk, const AddAnswer& add) {
        const auto spans = ClassifyTokens(run.context(), run.model(), chunk.rows, aggregation);
        for (std::size_t i = 0; i < spans.size(); ++i) {
          add(AnswerOf(chunk.names[i], chunk.texts[i].text, spans[i]));
        }
      });
}

}  // namespace

void RegisterTokenClassify(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<TokenClassifyCommand>();
  AddTaskOptions(*command, c->task);
  AddAnswerOutput(*command, c->task);
  command
      ->add_option("--aggregate", c->aggregate,
                   "How tokens become words: none, simple, first, average or max")
      ->capture_default_str();
  command->footer(
      "Of overlapping windows (--stride) the one that sees more around a token decides.\n"
      "Examples:\n"
      "  longspan token-classify -m ner letter.txt --stride 128\n"
      "  longspan token-classify -m ner letters/ --aggregate first --json\n"
      "  longspan token-classify -m ner letters/ -o names.csv");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunTokenClassify(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
