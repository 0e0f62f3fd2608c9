// longspan qa: the part of a text that answers a question.

#include <fmt/format.h>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "io/escape.h"
#include "tasks/answers.h"

namespace longspan::cli {
namespace {

struct QaCommand {
  TaskCommand task;
  std::string question;
  AnswerOptions answers;
};

// The question of an input and the text to look in.
TaskText PairOf(const QaCommand& c, const InputText& input) {
  const std::string name = io::Escape(input.name);
  TaskText pair{c.question, input.text};
  if (input.is_json()) {
    if (const auto own = input.OptionalField("question")) pair.text = *own;
    pair.pair = input.Field("context");
  }
  Check(!pair.text.empty(), ErrorCode::kUsage,
        "{}: no question; give --question, or JSON lines with \"question\" and \"context\"", name);
  Check(!pair.pair->empty(), ErrorCode::kUsage, "{}: no text to look for the answer in", name);
  return pair;
}

std::string Show(const std::string& name, std::string_view text, std::span<const Answer> answers) {
  std::string shown;
  for (const Answer& a : answers) {
    shown += a.none
                 ? fmt::format("{}\t{:.4f}\t(no answer)\n", ShownName(name), a.score)
                 : fmt::format("{}:{}-{}\t{:.4f}\t{}\n", ShownName(name), a.chars.begin,
                               a.chars.end, a.score, Printable(std::string(Piece(text, a.bytes))));
  }
  return shown;
}

nlohmann::ordered_json Json(std::string_view text, std::span<const Answer> answers) {
  auto list = nlohmann::ordered_json::array();
  for (const Answer& a : answers) {
    list.push_back({{"answer", Piece(text, a.bytes)},
                    {"score", a.score},
                    {"start", a.chars.begin},
                    {"end", a.chars.end}});
  }
  return list;
}

int RunQa(const QaCommand& c, int threads) {
  TextInputs inputs(c.task.inputs);
  TaskRun run(c.task, TextHead::kQuestion, threads);
  const auto pair_of = [&](const InputText& input) { return PairOf(c, input); };
  return AnswerTexts(run, "qa", inputs, pair_of, [&](const TaskChunk& chunk) {
    const auto found = FindAnswers(run.context(), run.model(), chunk.rows, c.answers);
    std::vector<TaskAnswer> answers;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const TaskText& text = chunk.texts[i];
      answers.push_back({{{"question", text.text}, {"answers", Json(*text.pair, found[i])}},
                         Show(chunk.names[i], *text.pair, found[i])});
    }
    return answers;
  });
}

}  // namespace

void RegisterQa(CLI::App& app, const Globals& globals, Action& action) {
  auto* command = app.add_subcommand("qa", "the part of a text that answers a question");
  const auto c = std::make_shared<QaCommand>();
  c->task.options.stride = 128;
  AddTaskOptions(*command, c->task);
  command->add_option("--question", c->question, "asked of every text");
  command->add_option("--top", c->answers.most, "answers for each question")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--max-answer", c->answers.longest, "tokens of an answer")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--may-be-none", c->answers.may_be_none, "the text may have no answer");
  command->footer(
      "JSON lines have \"question\" and \"context\". Offsets are characters of the text.\n"
      "Examples:\n"
      "  longspan qa -m run book.txt --question 'Who wrote the letter?' --top 3\n"
      "  longspan qa -m run questions.jsonl --may-be-none --json");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunQa(*c, globals.threads); }; });
}

}  // namespace longspan::cli
