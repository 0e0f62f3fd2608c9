// longspan eval of classes of words.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/data_options.h"
#include "cli/eval_command.h"
#include "cli/predictions_file.h"
#include "cli/train_options.h"
#include "cli/visual/clipped.h"
#include "cli/visual/json_text.h"
#include "cli/visual/text.h"
#include "longspan/counted.h"
#include "longspan/head_training.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

nlohmann::ordered_json ScoresOf(const metrics::AverageScore& s) {
  return {{"precision", s.precision}, {"recall", s.recall}, {"f1", s.f1}};
}

std::string TagsJson(const TokenClassEval& e) {
  ordered_json j = {{"texts", e.texts},      {"words", e.words}, {"unread", e.unread},
                    {"tokens", e.tokens},    {"cut", e.cut},     {"loss", e.loss},
                    {"accuracy", e.accuracy}};
  if (e.entities) {
    j["precision"] = e.entity.micro.precision;
    j["recall"] = e.entity.micro.recall;
    j["f1"] = e.entity.micro.f1;
    j["macro"] = ScoresOf(e.entity.macro);
    j["weighted"] = ScoresOf(e.entity.weighted);
  } else {
    j["macro_f1"] = e.macro.f1;
  }
  ordered_json& classes = j[e.entities ? "entities" : "tags"] = ordered_json::array();
  for (const ClassScore& s : e.entities ? e.entity.types : e.tags) {
    classes.push_back({{"name", s.name},
                       {"precision", s.precision},
                       {"recall", s.recall},
                       {"f1", s.f1},
                       {"support", s.support},
                       {"predicted", s.predicted},
                       {"hits", s.hits}});
  }
  return DumpJson(j);
}

std::string TagTable(const TokenClassEval& e) {
  const std::vector<ClassScore>& scores = e.entities ? e.entity.types : e.tags;
  const char* const title = e.entities ? "entity" : "tag";
  std::vector<std::string> names;
  idx_t width = 8;
  for (const ClassScore& s : scores) {
    names.push_back(ClipWithDots(Printable(s.name), 40));
    width = std::max(width, Columns(names.back()));
  }
  const auto line = [&](const std::string& name, const auto& s, idx_t count) {
    return PadColumns(name, width) +
           fmt::format("  {:>9.4f} {:>9.4f} {:>9.4f} {:>9}\n", s.precision, s.recall, s.f1, count);
  };
  std::string text = PadColumns(title, width) + fmt::format("  {:>9} {:>9} {:>9} {:>9}\n",
                                                            "precision", "recall", "F1", "in text");
  for (std::size_t i = 0; i < scores.size(); ++i) {
    text += line(names[i], scores[i], scores[i].support);
  }
  if (!e.entities) return text + line("(macro)", e.macro, e.words);
  return text + line("(micro)", e.entity.micro, e.entity.support) +
         line("(macro)", e.entity.macro, e.entity.support);
}

std::string TagsReport(const TokenClassEval& e) {
  std::string text = fmt::format("{}, {}, rows of at most {} tokens", Counted(e.texts, "text"),
                                 Counted(e.words, "word"), e.tokens);
  if (e.cut > 0) text += fmt::format(", {} cut", Counted(e.cut, "text"));
  if (e.unread > 0) text += fmt::format(", {} without a token", Counted(e.unread, "word"));
  return text + "\n" + TagTable(e) +
         fmt::format("{} {:.4f}, accuracy of words {:.4f}, loss {:.4f}\n",
                     e.entities ? "F1 of entities" : "macro F1",
                     e.entities ? e.entity.micro.f1 : e.macro.f1, e.accuracy, e.loss);
}

// Of JSON lines one for each text; of a table one for each word.
void WritePredictedTags(const std::vector<TaggedWords>& texts, PredictionsFile& file) {
  if (file.table()) file.WriteFields({"row", "input", "id", "word", "gold", "predicted", "right"});
  for (std::size_t n = 0; n < texts.size(); ++n) {
    const TaggedWords& text = texts[n];
    if (!file.table()) {
      ordered_json line = {{"row", n + 1}, {"input", text.input}};
      if (!text.id.empty()) line["id"] = IdValue(text.id);
      line["words"] = text.words;
      line["gold"] = text.gold;
      line["predicted"] = text.said;
      line["right"] = text.gold == text.said;
      file.Write(line);
      continue;
    }
    for (std::size_t i = 0; i < text.words.size(); ++i) {
      file.WriteFields({std::to_string(n + 1), text.input, IdField(text.id), text.words[i],
                        text.gold[i], text.said[i],
                        text.gold[i] == text.said[i] ? "true" : "false"});
    }
  }
  file.Commit();
}

}  // namespace

std::string JudgeTokenClassifier(Context& context, const EvalCommand& c) {
  auto o = HeadEvalOptionsOf<TokenClassEvalOptions>(c);
  c.fields.PutInto(&o.task);
  o.task.overflow = ParseOverflow(c.overflow).value_or(text::Overflow::kWindow);
  o.task.stride = c.stride.value_or(0);
  auto file = PredictionsFile::Begin(c.predictions, c.data, c.model);
  std::vector<TaggedWords> words;
  const TokenClassEval result = Evaluated(
      context, [&] { return EvaluateTokenClassifier(context, o, file ? &words : nullptr); });
  if (file) WritePredictedTags(words, *file);
  return c.json ? TagsJson(result) : TagsReport(result);
}

}  // namespace longspan::cli
