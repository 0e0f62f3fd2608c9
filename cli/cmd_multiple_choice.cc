// longspan multiple-choice: which of several answers fits.

#include <fmt/format.h>

#include <algorithm>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/task_run.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"
#include "io/escape.h"
#include "io/json.h"
#include "tasks/choices.h"

namespace longspan::cli {
namespace {

struct ChoiceCommand {
  TaskCommand task;
  std::string question;
  std::vector<std::string> choices;
};

// What is known, then what is asked.
std::string Joined(const std::string& text, const std::string& question) {
  if (text.empty() || question.empty()) return text + question;
  return text + (text.back() == '\n' || text.back() == ' ' ? "" : " ") + question;
}

Question QuestionOf(const ChoiceCommand& c, const InputText& input) {
  Question question{Joined(input.text, c.question), c.choices};
  const std::string name = io::Escape(input.name);
  if (input.is_json()) {
    question.text = Joined(input.OptionalField("context").value_or(""),
                           input.OptionalField("question").value_or(c.question));
    if (input.fields.contains("choices")) {
      question.choices = io::GetStringList(input.fields, "choices", io::kRequired, name);
    }
  }
  Check(question.choices.size() >= 2, ErrorCode::kUsage,
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

int RunMultipleChoice(const ChoiceCommand& c, int threads) {
  Check(c.task.overflow != "window", ErrorCode::kUsage,
        "multiple-choice: a question cannot be answered in windows; use --overflow truncate");
  InputOptions options = c.task.inputs;
  // A question without anything to read about it.
  if (options.paths.empty() && options.texts.empty() && !c.question.empty()) options.texts = {""};
  TextInputs inputs(options);
  TaskRun run(c.task, TextHead::kChoice, threads);
  for (;;) {
    const std::vector<InputText> chunk = inputs.NextChunk();
    if (chunk.empty()) return run.Finish("multiple-choice");
    std::vector<Question> questions;
    std::vector<std::string> names;  // of the rows
    for (const InputText& input : chunk) {
      questions.push_back(QuestionOf(c, input));
      names.resize(names.size() + questions.back().choices.size(), input.name);
    }
    const TaskRows rows = run.Encode(ChoicePairs(questions), names, text::Overflow::kError);
    const auto scores = ScoreChoices(run.context(), run.model(), questions, rows);
    idx_t row = 0;
    for (std::size_t q = 0; q < questions.size(); ++q) {
      run.Add(chunk[q], rows, row, AnswerOf(chunk[q].name, questions[q], scores[q]));
      row += static_cast<idx_t>(questions[q].choices.size());
    }
  }
}

}  // namespace

void RegisterMultipleChoice(CLI::App& app, const Globals& globals, Action& action) {
  auto* command = app.add_subcommand("multiple-choice", "which of several answers fits");
  const auto c = std::make_shared<ChoiceCommand>();
  AddTaskOptions(*command, c->task);
  command->add_option("--question", c->question, "asked of every text, or by itself");
  command->add_option("--choice", c->choices, "an answer; give it again for each")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->footer(
      "A question with its text is one row with each choice; what does not fit is an error, or "
      "cut\n"
      "from the text's end with --overflow truncate. JSON lines: \"context\", \"question\", "
      "\"choices\".\n"
      "Examples:\n"
      "  longspan multiple-choice -m run story.txt --question 'Who left?' --choice Anne --choice "
      "Mary\n"
      "  longspan multiple-choice -m run questions.jsonl --json");
  command->callback([c, &globals, &action] {
    action = [c, &globals] { return RunMultipleChoice(*c, globals.threads); };
  });
}

}  // namespace longspan::cli
