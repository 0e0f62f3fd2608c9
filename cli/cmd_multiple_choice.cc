// longspan multiple-choice: which of several answers fits.

#include <fmt/format.h>

#include <algorithm>

#include "cli/check.h"
#include "cli/commands.h"
#include "cli/option_checks.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "longspan/files.h"
#include "longspan/tasks.h"

namespace longspan::cli {
namespace {

constexpr const char* kContext = "context";  // the field of what is known, unless another is named

struct ChoiceCommand {
  TaskCommand task;
  std::string question;
  std::vector<std::string> choices;
};

Question QuestionOf(const ChoiceCommand& c, const InputText& input) {
  Question question{JoinQuestion(input.text, c.question), c.choices};
  const std::string name = io::Escape(input.name);
  if (input.has_fields) {
    question.text = JoinQuestion(input.OptionalText(c.task.inputs.data.text_field).value_or(""),
                                 input.OptionalText("question").value_or(c.question));
    if (input.fields.contains("choices")) {
      question.choices = input.TextList("choices");
    }
  }
  Check(question.choices.size() >= 2, ErrorCode::kFormat,
        "{}: {} choices, need at least 2; give --choice again, or \"choices\" in JSON lines", name,
        question.choices.size());
  return question;
}

TaskAnswer AnswerOf(const std::string& name, const Question& question,
                    const std::vector<double>& scores) {
  TaskAnswer answer;
  const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
  answer.fields["best"] = best;
  auto choices = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    choices.push_back({{"choice", question.choices[i]}, {"score", scores[i]}});
    answer.shown += fmt::format("{}\t{} {:.4f}\t{}\n", ShownName(name),
                                static_cast<idx_t>(i) == best ? "*" : " ", scores[i],
                                Printable(question.choices[i]));
  }
  answer.fields["choices"] = std::move(choices);
  return answer;
}

// A line for each choice.
AnswerTable ChoiceTable() {
  return {{"choice", "score", "best"}, [](const nlohmann::ordered_json& fields) {
            auto lines = LinesOf(fields.at("choices"), {"choice", "score"});
            const auto best = fields.at("best").get<std::size_t>();
            for (std::size_t i = 0; i < lines.size(); ++i) lines[i].push_back(CellOf(i == best));
            return lines;
          }};
}

int RunMultipleChoice(const ChoiceCommand& c, int threads) {
  Check(c.task.overflow != "window", ErrorCode::kUsage,
        "multiple-choice: a question cannot be answered in windows; use --overflow truncate");
  CheckStrideHasWindows(*c.task.output.command, "error");
  CheckGivenText("--question", c.question);
  for (const std::string& choice : c.choices) CheckGivenText("--choice", choice);
  InputOptions options = c.task.inputs;
  // A question without anything to read about it.
  if (options.paths.empty() && options.texts.empty() && !c.question.empty()) options.texts = {""};
  // Who names a field means that it is there.
  const std::string& field = options.data.text_field;
  TextInputs inputs(options, {{field, field != kContext}, {"question"}, {"choices"}});
  TaskRun run(c.task, "multiple-choice", HeadKind::kChoice, threads);
  run.table = ChoiceTable();
  const auto texts_of = [&](const InputText& input) {
    const Question question = QuestionOf(c, input);
    return ChoicePairs({&question, 1});
  };
  for (TaskChunk chunk; run.NextChunk(inputs, texts_of, kChoiceRows, chunk);) {
    std::vector<Question> questions;
    for (const InputText& input : chunk.inputs) questions.push_back(QuestionOf(c, input));
    const auto scores = ScoreChoices(run.context(), run.model(), questions, chunk.rows);
    for (std::size_t q = 0; q < questions.size(); ++q) {
      run.Add(chunk.inputs[q], chunk.rows, static_cast<idx_t>(chunk.first[q]),
              AnswerOf(chunk.names[q], questions[q], scores[q]));
    }
  }
  return run.Finish();
}

}  // namespace

void RegisterMultipleChoice(CLI::App* command, const Globals& globals, Action& action) {
  const auto c = std::make_shared<ChoiceCommand>();
  c->task.inputs.data.text_field = kContext;
  c->task.inputs.pairs = false;
  AddTaskOptions(*command, c->task);
  AddAnswerOutput(*command, c->task);
  BeginGroup(command, "Question");
  command->add_option("--question", c->question,
                      "Question that is asked of every text, or by itself");
  command->add_option("--choice", c->choices, "Possible answer; give it again for each")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->footer(
      "A question with its text is one row with each choice; what does not fit is an error, or "
      "cut\n"
      "from the text's end with --overflow truncate. Tables and JSON have \"context\",\n"
      "\"question\" and \"choices\" (a list; in tables as JSON).\n"
      "Examples:\n"
      "  longspan multiple-choice -m choose story.txt --question 'Who?' --choice Anne --choice "
      "Mary\n"
      "  longspan multiple-choice -m choose choices.jsonl --json\n"
      "  longspan multiple-choice -m choose choices.jsonl -o chosen.csv");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunMultipleChoice(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
