#include "train/label_stats.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/parse_number.h"
#include "longspan/files.h"
#include "train/labelled_text.h"

namespace longspan {

void LabelCounter::Add(const data::Row& row, bool table) {
  const auto found = row.fields.find(field_);
  const bool empty = found == row.fields.end() || found->is_null() ||
                     (found->is_string() && found->get_ref<const std::string&>().empty());
  if (empty) {
    ++stats_.without;
    return;
  }
  try {
    Take(*found, table, io::EscapeName(row.name));
    ++stats_.rows;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kFormat) throw;
    if (stats_.unusable++ == 0) stats_.first_unusable = error.what();
  }
}

void LabelCounter::Take(const nlohmann::json& value, bool table, const std::string& where) {
  if (!table && value.is_number_float()) {
    ++counts_[value.dump()];
    return;
  }
  RowLabel label = ParseRowLabel(value, table, '\0', where);
  if (label.set) {
    stats_.sets = true;
    sets_.push_back(std::move(*label.set));
  } else {
    ++counts_[label.names.front()];
  }
}

std::optional<LabelNumbers> LabelCounter::Numbers() const {
  LabelNumbers numbers;
  double sum = 0.0;
  bool whole = true;
  for (const auto& [label, rows] : counts_) {
    const auto value = ParseNumber<double>(label);
    if (!value || !std::isfinite(*value)) return std::nullopt;
    whole = whole && *value == std::floor(*value);
    numbers.lowest = std::min(numbers.lowest, *value);
    numbers.highest = std::max(numbers.highest, *value);
    sum += *value * static_cast<double>(rows);
  }
  if (whole) return std::nullopt;  // as a rule numbers of classes
  numbers.mean = sum / static_cast<double>(stats_.rows);
  return numbers;
}

std::optional<LabelStats> LabelCounter::Finish() {
  if (stats_.rows + stats_.unusable == 0) return std::nullopt;
  const bool all_sets = static_cast<idx_t>(sets_.size()) == stats_.rows;
  OneHotRule rule;
  for (const LabelSet& set : sets_) rule.Add(set);
  const bool one_hot = all_sets && rule.width() > 0;
  for (const LabelSet& set : sets_) {
    for (const std::string& name : one_hot ? NamesOfOnes(set) : set.items) ++counts_[name];
  }
  if (!stats_.sets) stats_.numbers = Numbers();
  if (stats_.numbers) return std::move(stats_);
  for (const auto& [label, rows] : counts_) stats_.counts.push_back({label, rows});
  std::stable_sort(stats_.counts.begin(), stats_.counts.end(),
                   [](const LabelCount& a, const LabelCount& b) { return a.rows > b.rows; });
  return std::move(stats_);
}

}  // namespace longspan
