// Which labels the rows of tables and JSON have, and how many rows each of them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/rows.h"
#include "longspan/data_stats.h"
#include "train/label_sets.h"

namespace longspan {

// Counts labels as a training without --problem reads them (train/labelled_text.h).
class LabelCounter {
 public:
  explicit LabelCounter(std::string field) : field_(std::move(field)) {}

  // A row that has a text; `table`: its fields are text.
  void Add(const data::Row& row, bool table);
  // None if no row has the field.
  std::optional<LabelStats> Finish();

 private:
  void Take(const nlohmann::json& value, bool table, const std::string& where);
  std::optional<LabelNumbers> Numbers() const;

  std::string field_;
  std::map<std::string, idx_t> counts_;
  std::vector<LabelSet> sets_;
  LabelStats stats_;
};

}  // namespace longspan
