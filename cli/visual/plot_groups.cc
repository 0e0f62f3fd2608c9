#include "cli/visual/plot_groups.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace longspan::cli {
namespace {

// The values of a metric that are finite, by step.
std::map<double, double> ValuesOf(const RunLog& run, const std::string& kind,
                                  const std::string& metric) {
  std::map<double, double> values;
  const std::vector<double>* column = run.Find(kind, metric);
  for (std::size_t i = 0; column != nullptr && i < column->size(); ++i) {
    if (std::isfinite((*column)[i])) values[run.kinds.at(kind).step[i]] = (*column)[i];
  }
  return values;
}

void AddValues(const std::map<double, double>& values, GroupCurve* curve,
               std::map<double, std::vector<double>>* steps) {
  if (values.empty()) return;
  ++curve->runs;
  for (const auto& [step, value] : values) (*steps)[step].push_back(value);
}

}  // namespace

std::string WithoutDigits(const std::string& name) {
  std::string kind;
  for (const char c : name) {
    if (c < '0' || c > '9') {
      kind += c;
    } else if (kind.empty() || kind.back() != '*') {
      kind += '*';
    }
  }
  return kind;
}

std::vector<GroupCurve> GroupRuns(const std::vector<RunLog>& runs,
                                  const std::vector<std::string>& names,
                                  const std::string& metric) {
  std::vector<std::string> groups;
  for (const std::string& name : names) {
    const std::string group = WithoutDigits(name);
    if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
  }
  std::vector<GroupCurve> curves;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (const char* kind : {"train", "eval"}) {
      GroupCurve curve;
      curve.group = groups[g];
      curve.place = static_cast<idx_t>(g);
      curve.kind = kind;
      std::map<double, std::vector<double>> steps;
      for (std::size_t r = 0; r < runs.size(); ++r) {
        if (WithoutDigits(names[r]) == groups[g]) {
          AddValues(ValuesOf(runs[r], kind, metric), &curve, &steps);
        }
      }
      for (const auto& [step, values] : steps) {
        if (static_cast<idx_t>(values.size()) < curve.runs) continue;  // some lack this step
        double sum = 0.0;
        for (const double value : values) sum += value;
        const auto [low, high] = std::minmax_element(values.begin(), values.end());
        curve.step.push_back(step);
        curve.mean.push_back(sum / static_cast<double>(values.size()));
        curve.low.push_back(*low);
        curve.high.push_back(*high);
      }
      if (!curve.step.empty()) curves.push_back(std::move(curve));
    }
  }
  return curves;
}

}  // namespace longspan::cli
