// longspan qa: the part of a text that answers a question.

#include <fmt/format.h>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/files.h"
#include "longspan/tasks.h"

namespace longspan::cli {
namespace {

struct QaCommand {
  TaskCommand task;
  std::string question;
  AnswerOptions answers;
};

TextInputs QuestionInputs(const QaCommand& c) {
  return {c.task.inputs, {{c.task.inputs.data.text_field, true}, {"question"}}, true};
}

// The question of an input and the text to look in.
TaskText PairOf(const QaCommand& c, const InputText& input) {
  const std::string name = io::Escape(input.name);
  TaskText pair{c.question, input.text};
  if (input.has_fields) {
    if (const auto own = input.OptionalText("question")) pair.text = *own;
    pair.pair = input.Text(c.task.inputs.data.text_field);
  }
  Check(!pair.text.empty(), ErrorCode::kFormat,
        "{}: no question; give --question, or a \"question\" beside each \"context\"", name);
  Check(!pair.pair->empty(), ErrorCode::kFormat, "{}: no text to look for the answer in", name);
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

// A line for each answer.
AnswerTable TableOfAnswers() {
  return {{"question", "answer", "score", "start", "end"},
          [](const nlohmann::ordered_json& fields) {
            auto lines = LinesOf(fields.at("answers"), {"answer", "score", "start", "end"});
            for (auto& line : lines) line.insert(line.begin(), CellOf(fields.at("question")));
            return lines;
          }};
}

int RunQa(const QaCommand& c, int threads) {
  CheckGivenText("--question", c.question);
  TextInputs inputs = QuestionInputs(c);
  TaskRun run(c.task, "qa", HeadKind::kQuestion, threads);
  run.table = TableOfAnswers();
  bool told = c.question.empty();
  const auto pair_of = [&](const InputText& input) {
    TaskText pair = PairOf(c, input);
    if (!told && pair.text != c.question) {
      told = true;
      run.Note(
          fmt::format("{}: has a question of its own; --question is asked of texts without one",
                      ShownName(input.name)));
    }
    return pair;
  };
  return AnswerTexts(
      run, inputs, pair_of,
      [&](const TaskChunk& chunk, const AddAnswer& add) {
        const auto found = FindAnswers(run.context(), run.model(), chunk.rows, c.answers);
        for (std::size_t i = 0; i < found.size(); ++i) {
          const TaskText& text = chunk.texts[i];
          add({{{"question", text.text}, {"answers", Json(*text.pair, found[i])}},
               Show(chunk.names[i], *text.pair, found[i])});
        }
      },
      kAnswerRows);
}

}  // namespace

void RegisterQa(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<QaCommand>();
  c->task.inputs.data.text_field = "context";
  c->task.inputs.pairs = false;
  AddTaskOptions(*command, c->task);
  AddAnswerOutput(*command, c->task);
  BeginGroup(command, "Question");
  command->add_option("--question", c->question,
                      "Question that is asked of every text without one of its own");
  command->add_option("--top", c->answers.most, "Number of answers to each question")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--max-answer", c->answers.longest, "Longest answer in tokens")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_flag("--may-be-none", c->answers.may_be_none, "Allow that the text has no answer");
  command->footer(
      "Tables and JSON have \"question\" and \"context\"; SQuAD's own .json file is read, too.\n"
      "Offsets are characters of the text. Windows share 128 tokens, or half a row, unless\n"
      "--stride says otherwise.\n"
      "Examples:\n"
      "  longspan qa -m answer chapter.txt --question 'Who wrote the letter?' --top 3\n"
      "  longspan qa -m answer questions.jsonl --may-be-none --json\n"
      "  longspan qa -m answer questions.jsonl -o answers.csv");
  command->callback(
      [c, &globals, &action] { action = [c, &globals] { return RunQa(*c, globals.threads); }; });
}

}  // namespace longspan::cli
