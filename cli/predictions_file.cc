#include "cli/predictions_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/check.h"
#include "cli/table_field.h"
#include "cli/text_inputs.h"
#include "cli/visual/json_text.h"
#include "cli/visual/output.h"
#include "cli/visual/text.h"

namespace longspan::cli {
namespace {

using nlohmann::ordered_json;

bool IsTable(const std::filesystem::path& file) {
  const std::string ending = LowerAscii(file.extension().string());
  Check(ending == ".csv" || ending == ".jsonl", ErrorCode::kUsage,
        "predictions: the ending of '{}' names no format; use a name that ends in .csv or .jsonl",
        Printable(file.string()));
  return ending == ".csv";
}

// The path itself, when it may be written.
const std::filesystem::path& Checked(const std::filesystem::path& file, const std::string& data,
                                     const std::string& model) {
  CheckIsNoInputOf({data}, file);
  std::error_code none;
  const bool exists = std::filesystem::exists(file, none);
  const auto folder = std::filesystem::absolute(file, none).parent_path();
  Check(!exists || !std::filesystem::equivalent(folder, model, none), ErrorCode::kUsage,
        "predictions: {} is a file of the model's folder; write to another place",
        Printable(file.string()));
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

std::string LabelsField(const Predictions& all, bool sets, const std::vector<idx_t>& places) {
  const ordered_json labels = LabelsJson(all, sets, places);
  return TableField(labels.is_array() ? JsonText(labels) : labels.get<std::string>(), ',');
}

// An id as it stood: integers of any length keep their digits.
ordered_json IdOf(const Prediction& p) { return p.id.empty() ? ordered_json() : ParsedJson(p.id); }

std::string IdField(const Prediction& p) {
  if (!p.id.starts_with('"')) return TableField(p.id, ',');
  return TableField(IdOf(p).get<std::string>(), ',');
}

}  // namespace

PredictionsFile::PredictionsFile(const std::filesystem::path& file, const std::string& data,
                                 const std::string& model)
    : table_(IsTable(file)), path_(Checked(file, data, model)), file_(path_) {}

void PredictionsFile::WriteTable(const ClassifierEval& eval, const Predictions& all) {
  const bool sets = IsSet(eval);
  const bool number = IsNumber(eval);
  std::string head = number ? "row,input,id,gold,predicted" : "row,input,id,gold,predicted,right";
  for (const std::string& label : all.labels) {
    if (!number) head += "," + TableField("score " + label, ',');
  }
  file_.Write(head + "\n");
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    const Prediction& p = all.rows[i];
    std::string line = fmt::format("{},{},{},", i + 1, TableField(p.input, ','), IdField(p));
    if (number) {
      line += fmt::format("{},{}", p.gold_value, p.scores.front());
    } else {
      line += fmt::format("{},{},{}", LabelsField(all, sets, p.gold),
                          LabelsField(all, sets, p.predicted), p.gold == p.predicted);
      for (const double score : p.scores) fmt::format_to(std::back_inserter(line), ",{}", score);
    }
    file_.Write(line + "\n");
  }
}

void PredictionsFile::WriteLines(const ClassifierEval& eval, const Predictions& all) {
  const bool sets = IsSet(eval);
  for (std::size_t i = 0; i < all.rows.size(); ++i) {
    const Prediction& p = all.rows[i];
    ordered_json line = {{"row", i + 1}, {"input", p.input}};
    if (!p.id.empty()) line["id"] = IdOf(p);
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
    file_.Write(DumpJson(line, -1));
  }
}

void PredictionsFile::Write(const ClassifierEval& eval, const Predictions& all) {
  table_ ? WriteTable(eval, all) : WriteLines(eval, all);
  file_.Commit();
}

}  // namespace longspan::cli
