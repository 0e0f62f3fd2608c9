#include "cli/predictions_file.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "cli/check.h"
#include "cli/ranks.h"
#include "cli/table_field.h"
#include "cli/text_inputs.h"
#include "cli/text_table.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

OutputForm PredictionsFormOf(const std::filesystem::path& file) {
  const std::optional<OutputForm> form = OutputFormOfEnding(file);
  Check(form && (IsTableForm(*form) || form == OutputForm::kJsonLines), ErrorCode::kUsage,
        "predictions: the ending of '{}' names no format; use a name that ends in .csv, .tsv or "
        ".jsonl",
        Printable(file.string()));
  return *form;
}

// The path itself, when it may be written.
const std::filesystem::path& Checked(const std::filesystem::path& file, const std::string& data,
                                     const std::string& model) {
  CheckIsNoInputOf({data}, model, file);
  return file;
}

bool IsNumber(const ClassifierEval& eval) { return eval.problem == ProblemType::kRegression; }
bool IsSet(const ClassifierEval& eval) { return eval.problem == ProblemType::kMultiLabel; }

// The labels at these places: one name, or of sets a list.
ordered_json LabelsJson(const Predictions& all, bool sets, const std::vector<idx_t>& places) {
  const auto name = [&](idx_t place) { return all.labels[static_cast<std::size_t>(place)]; };
  if (!sets) return name(places.front());
  ordered_json list = ordered_json::array();
  for (const idx_t place : places) list.push_back(name(place));
  return list;
}

}  // namespace

PredictionsFile::PredictionsFile(const std::filesystem::path& file, const std::string& data,
                                 const std::string& model)
    : form_(PredictionsFormOf(file)), path_(Checked(file, data, model)), file_(path_) {}

void PredictionsFile::CheckPlace(const std::filesystem::path& file, const std::string& data,
                                 const std::string& model) {
  PredictionsFormOf(file);
  Checked(file, data, model);
}

std::optional<PredictionsFile> PredictionsFile::Begin(const std::string& file,
                                                      const std::string& data,
                                                      const std::string& model) {
  if (file.empty() || !Speaks()) return std::nullopt;
  return std::optional<PredictionsFile>(std::in_place, file, data, model);
}

void PredictionsFile::Write(const ordered_json& object) { file_.Write(DumpJson(object, -1)); }

void PredictionsFile::WriteFields(const std::vector<std::string>& fields) {
  const char separator = form_ == OutputForm::kTsv ? '\t' : ',';
  std::string line;
  for (const std::string& field : fields) {
    if (&field != fields.data()) line += separator;
    line += TableField(field, separator);
  }
  file_.Write(line + "\n");
}

void PredictionsFile::Commit() { file_.Commit(); }

ordered_json IdValue(const std::string& id) { return id.empty() ? ordered_json() : ParsedJson(id); }

std::string IdField(const std::string& id) { return CellOf(IdValue(id)); }

namespace {

void WriteTable(const ClassifierEval& eval, const Predictions& all, PredictionsFile& file) {
  const bool sets = IsSet(eval);
  const bool number = IsNumber(eval);
  std::vector<std::string> head = {"row", "input", "id", "gold", "predicted"};
  if (!number) head.emplace_back("right");
  for (const std::string& label : all.labels) {
    if (!number) head.push_back("score " + label);
  }
  head.emplace_back("text");
  const bool pairs = std::any_of(all.rows.begin(), all.rows.end(),
                                 [](const Prediction& p) { return !p.text_pair.empty(); });
  if (pairs) head.emplace_back("text_pair");
  file.WriteFields(head);
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    const Prediction& p = all.rows[i];
    std::vector<std::string> line = {std::to_string(i + 1), p.input, IdField(p.id)};
    if (number) {
      line.push_back(CellOf(p.gold_value));
      line.push_back(CellOf(p.scores.front()));
    } else {
      line.push_back(CellOf(LabelsJson(all, sets, p.gold)));
      line.push_back(CellOf(LabelsJson(all, sets, p.predicted)));
      line.push_back(CellOf(p.gold == p.predicted));
      for (const double score : p.scores) line.push_back(CellOf(score));
    }
    line.push_back(p.text);
    if (pairs) line.push_back(p.text_pair);
    file.WriteFields(line);
  }
}

void WriteLines(const ClassifierEval& eval, const Predictions& all, PredictionsFile& file) {
  const bool sets = IsSet(eval);
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    const Prediction& p = all.rows[i];
    ordered_json line = {{"row", i + 1}, {"input", p.input}};
    if (!p.id.empty()) line["id"] = IdValue(p.id);
    if (IsNumber(eval)) {
      line["gold"] = p.gold_value;
      line["predicted"] = p.scores.front();
    } else {
      line["gold"] = LabelsJson(all, sets, p.gold);
      line["predicted"] = LabelsJson(all, sets, p.predicted);
      line["right"] = p.gold == p.predicted;
      for (std::size_t k = 0; k < p.scores.size(); ++k) {
        line["scores"].push_back({{"label", all.labels[k]}, {"score", p.scores[k]}});
      }
    }
    line["text"] = p.text;
    if (!p.text_pair.empty()) line["text_pair"] = p.text_pair;
    file.Write(line);
  }
}

}  // namespace

void WritePredictions(const ClassifierEval& eval, const Predictions& all, PredictionsFile& file) {
  file.table() ? WriteTable(eval, all, file) : WriteLines(eval, all, file);
  file.Commit();
}

}  // namespace longspan::cli
