// Which labels the rows of tables and JSON have, and how many rows each of them.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/rows.h"
#include "train/label_sets.h"

namespace longspan {

struct LabelCount {
  std::string label;
  idx_t rows = 0;
};

// Labels that are numbers, some of them no integers: what --problem regression learns.
struct LabelNumbers {
  double lowest = std::numeric_limits<double>::infinity();
  double highest = -std::numeric_limits<double>::infinity();
  double mean = 0.0;
};

struct LabelStats {
  idx_t rows = 0;     // with a label, the empty set among them
  idx_t without = 0;  // rows of tables and JSON that have a text and no label
  idx_t unusable = 0;
  std::string first_unusable;  // where the first of these stands and what it is
  bool sets = false;           // some label is a list
  // The most frequent first; of one frequency in the order of their names. Empty for numbers.
  std::vector<LabelCount> counts;
  std::optional<LabelNumbers> numbers;
};

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
