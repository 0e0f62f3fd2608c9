// Texts with labels, from tables (CSV, TSV), JSON, fastText's lines, and folders named as labels.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "longspan/train.h"
#include "model/label_fields.h"
#include "train/label_sets.h"
#include "train/stored_rows.h"

namespace longspan {

struct LabelledText {
  std::string text, pair;           // pair: empty when there is no such column
  std::vector<std::string> labels;  // one; a set of labels: any number; regression: none
  double value = 0.0;               // regression
  idx_t line = 0;                   // of the file, from 1; of a list in JSON the item's
  std::string where;                // "reviews.csv:12", escaped
  std::string id;                   // the field "id" as JSON text; empty: there is none
};

template <>
struct RowFields<LabelledText> {
  static auto Of(auto& row) {
    return std::tie(row.text, row.pair, row.labels, row.value, row.line, row.where, row.id);
  }
};

struct LabelledTexts {
  std::string source;  // the first path, escaped
  StoredRows<LabelledText> rows;
  bool sets = false;        // a label was a list
  idx_t one_hot = 0;        // above 0: all were rows of that many zeros and ones, named LABEL_k
  std::string fingerprint;  // of all that was read
};

// Reads tables and JSON by the columns and fields that `data` names, and prose with labels
// (TextRules::labels). `regression`
// reads labels as numbers. Sets of labels are lists (in tables as train/label_sets.h reads them),
// or in tables names with data.label_separator between them. kUsage for files of another kind;
// kFormat with the line for damage, a missing column, an empty text, a label that is no text,
// number or list; with data.skip_bad such rows are left out and told of in `notes`. The texts lie
// at `place`. kIo.
LabelledTexts ReadLabelledTexts(const std::vector<std::filesystem::path>& files,
                                const DataOptions& data, ProblemType problem,
                                std::vector<std::string>* notes = nullptr,
                                const data::ScratchPlace& place = {});

// What the field of a label says: one name, or a set of them.
struct RowLabel {
  std::vector<std::string> names;
  std::optional<LabelSet> set = std::nullopt;  // of a list; the names are its items
};
// `value`: of a table text, of JSON anything. A `separator` stands between names in tables; '\0':
// a field is one name, unless it is a list. kFormat for what is no label, with `where`, which is
// escaped.
RowLabel ParseRowLabel(const nlohmann::json& value, bool table, char separator,
                       const std::string& where);

// The number in the field of a row: of a table text, of JSON a number. kFormat for anything else
// and for what is beyond every float, with `what` it should be and `where`, which is escaped.
double ParseRowNumber(const nlohmann::json& value, bool table, const char* what,
                      const std::string& where);

// The names of all labels of the rows, sorted: as numbers when all are integers.
std::vector<std::string> LabelNames(const StoredRows<LabelledText>& rows);
std::vector<std::string> SortedLabels(const std::set<std::string>& names);
// Whether a model with the labels `known` has a class for each of these names (FindLabel).
bool KnowsAll(const std::vector<std::string>& known, const std::vector<std::string>& names);

}  // namespace longspan
