// longspan eval of choices among answers.

#include <nlohmann/json.hpp>

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/predictions_file.h"
#include "cli/text_table.h"
#include "cli/train_options.h"
#include "cli/visual/json_text.h"
#include "longspan/counted.h"
#include "longspan/head_training.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

std::string ChoicesJson(const ChoiceEval& e) {
  const ShareInterval share = WilsonInterval(e.right, e.questions);
  return DumpJson(ordered_json{{"questions", e.questions},
                               {"choices", e.choices},
                               {"tokens", e.tokens},
                               {"cut", e.cut},
                               {"loss", e.loss},
                               {"accuracy", e.accuracy},
                               {"accuracy_interval", {share.low, share.high}},
                               {"chance", e.chance}});
}

std::string ChoicesReport(const ChoiceEval& e) {
  const ShareInterval share = WilsonInterval(e.right, e.questions);
  std::string text =
      fmt::format("{} with {}, rows of at most {} tokens", Counted(e.questions, "question"),
                  Counted(e.choices, "choice"), e.tokens);
  if (e.cut > 0) text += fmt::format(", {} cut", Counted(e.cut, "question"));
  return text + fmt::format(
                    "\naccuracy {:.4f} (95 % between {:.4f} and {:.4f}; at random {:.4f}), loss "
                    "{:.4f}\n",
                    e.accuracy, share.low, share.high, e.chance, e.loss);
}

void WriteChoices(const std::vector<ChosenAnswer>& answers, PredictionsFile& file) {
  if (file.table()) {
    file.WriteFields({"row", "input", "id", "gold", "predicted", "right", "scores"});
  }
  for (std::size_t n = 0; n < answers.size(); ++n) {
    const ChosenAnswer& a = answers[n];
    const auto choice = [&](idx_t place) {
      return a.question.choices[static_cast<std::size_t>(place)];
    };
    if (file.table()) {
      file.WriteFields({std::to_string(n + 1), a.input, IdField(a.id), choice(a.gold),
                        choice(a.said), CellOf(a.gold == a.said), CellOf(a.scores)});
      continue;
    }
    ordered_json line = {{"row", n + 1}, {"input", a.input}};
    if (!a.id.empty()) line["id"] = IdValue(a.id);
    line["gold"] = a.gold;
    line["predicted"] = a.said;
    line["right"] = a.gold == a.said;
    for (std::size_t i = 0; i < a.scores.size(); ++i) {
      line["choices"].push_back({{"choice", a.question.choices[i]}, {"score", a.scores[i]}});
    }
    file.Write(line);
  }
  file.Commit();
}

}  // namespace

std::string JudgeChoices(Context& context, const EvalCommand& c) {
  auto o = HeadEvalOptionsOf<ChoiceEvalOptions>(c);
  o.task.overflow =
      text::ParseOverflow(c.overflow.empty() ? "error" : c.overflow, text::kOneRowOverflows);
  auto file = PredictionsFile::Begin(c.predictions, c.data, c.model);
  std::vector<ChosenAnswer> answers;
  const ChoiceEval result = Evaluated(
      context, [&] { return EvaluateMultipleChoice(context, o, file ? &answers : nullptr); });
  if (file) WriteChoices(answers, *file);
  return c.json ? ChoicesJson(result) : ChoicesReport(result);
}

}  // namespace longspan::cli
