// longspan eval of answers to questions.

#include <cmath>
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

std::string AnswersJson(const AnswerEval& e) {
  const metrics::AnswersScore& s = e.score;
  ordered_json j = {{"questions", s.questions},
                    {"answerable", s.answerable},
                    {"windows", e.windows},
                    {"tokens", e.tokens},
                    {"cut", e.cut},
                    {"loss", e.loss},
                    {"exact_match", s.all.exact},
                    {"f1", s.all.f1}};
  if (e.may_be_none) {
    const auto part = [](const metrics::AnswerScore& score) {
      return std::isnan(score.exact) ? ordered_json()
                                     : ordered_json{{"exact_match", score.exact}, {"f1", score.f1}};
    };
    j["has_answer"] = part(s.has_answer);
    j["no_answer"] = part(s.no_answer);
  }
  return DumpJson(j);
}

std::string AnswersReport(const AnswerEval& e) {
  const metrics::AnswersScore& s = e.score;
  std::string text = fmt::format("{} in {} of at most {} tokens", Counted(s.questions, "question"),
                                 Counted(e.windows, "window"), e.tokens);
  if (e.cut > 0) text += fmt::format(", {} cut", Counted(e.cut, "question"));
  const auto line = [](const char* name, const metrics::AnswerScore& score, idx_t count) {
    return fmt::format("{:<16} {:>11.4f} {:>9.4f} {:>9}\n", name, score.exact, score.f1, count);
  };
  text += fmt::format("\n{:<16} {:>11} {:>9} {:>9}\n", "", "exact match", "F1", "questions");
  text += line("all", s.all, s.questions);
  if (e.may_be_none) {
    if (s.answerable > 0) text += line("with an answer", s.has_answer, s.answerable);
    text += line("without one", s.no_answer, s.questions - s.answerable);
  }
  const ShareInterval exact =
      WilsonInterval(std::llround(s.all.exact * static_cast<double>(s.questions)), s.questions);
  return text + fmt::format("exact match 95 % between {:.4f} and {:.4f}, loss {:.4f}\n", exact.low,
                            exact.high, e.loss);
}

void WriteAnswers(const std::vector<AnsweredPair>& pairs, PredictionsFile& file) {
  if (file.table()) {
    file.WriteFields({"row", "input", "id", "question", "gold", "predicted", "exact_match", "f1",
                      "score", "start", "end"});
  }
  for (std::size_t n = 0; n < pairs.size(); ++n) {
    const AnsweredPair& p = pairs[n];
    if (file.table()) {
      file.WriteFields({std::to_string(n + 1), p.input, IdField(p.id), p.question, CellOf(p.gold),
                        p.said, CellOf(p.right.exact), CellOf(p.right.f1), CellOf(p.answer.score),
                        std::to_string(p.answer.chars.begin), std::to_string(p.answer.chars.end)});
      continue;
    }
    ordered_json line = {{"row", n + 1}, {"input", p.input}};
    if (!p.id.empty()) line["id"] = IdValue(p.id);
    line["question"] = p.question;
    line["gold"] = p.gold;
    line["predicted"] = p.said;
    line["exact_match"] = p.right.exact;
    line["f1"] = p.right.f1;
    line["score"] = p.answer.score;
    line["start"] = p.answer.chars.begin;
    line["end"] = p.answer.chars.end;
    file.Write(line);
  }
  file.Commit();
}

}  // namespace

std::string JudgeAnswers(Context& context, const EvalCommand& c) {
  auto o = HeadEvalOptionsOf<AnswerEvalOptions>(c);
  o.task.overflow = ParseOverflow(c.overflow).value_or(text::Overflow::kWindow);
  o.task.stride = c.stride;
  o.task.longest = c.longest_answer;
  auto file = PredictionsFile::Begin(c.predictions, c.data, c.model);
  std::vector<AnsweredPair> pairs;
  const AnswerEval result = Evaluated(
      context, [&] { return EvaluateQuestionAnswering(context, o, file ? &pairs : nullptr); });
  if (file) WriteAnswers(pairs, *file);
  return c.json ? AnswersJson(result) : AnswersReport(result);
}

}  // namespace longspan::cli
