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

int RunMultipleChoice(const ChoiceCommand& c, int threads) {
  Check(c.task.overflow != "window", ErrorCode::kUsage,
        "multiple-choice: a question cannot be answered in windows; use --overflow truncate");
  InputOptions options = c.task.inputs;
  // A question without anything to read about it.
  if (options.paths.empty() && options.texts.empty() && !c.question.empty()) options.texts = {""};
  TextInputs inputs(options);
  TaskRun run(c.task, LongformerHead::kChoice, threads);
  auto results = nlohmann::ordered_json::array();
  for (;;) {
    const std::vector<InputText> chunk = inputs.NextChunk();
    if (chunk.empty()) break;
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
      auto j = run.Describe(chunk[q], rows, row);
      row += static_cast<idx_t>(questions[q].choices.size());
      const auto best = static_cast<std::size_t>(
          std::max_element(scores[q].begin(), scores[q].end()) - scores[q].begin());
      std::string shown;
      j["best"] = best;
      j["choices"] = nlohmann::ordered_json::array();
      for (std::size_t i = 0; i < scores[q].size(); ++i) {
        const std::string& choice = questions[q].choices[i];
        j["choices"].push_back({{"choice", choice}, {"score", scores[q][i]}});
        shown += fmt::format("{}\t{} {:.4f}\t{}\n", ShownName(chunk[q].name), i == best ? "*" : " ",
                             scores[q][i], Printable(choice));
      }
      if (c.task.json)
        results.push_back(std::move(j));
      else
        PrintResult(shown);
    }
  }
  c.task.json ? run.Finish(c.task, "multiple-choice", std::move(results)) : run.Finish();
  return 0;
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
