// Runs of one kind as one: seeds, as a rule.
#pragma once

#include <string>
#include <vector>

#include "longspan/run_log.h"

namespace longspan::cli {

// A name with a * for each number in it: "small-s1" and "small-s12" are both "small-s*".
std::string WithoutDigits(const std::string& name);

// One kind of record ("train", "eval") of the runs of a group: at each step that every one of them
// has a finite value for, the mean and the range.
struct GroupCurve {
  std::string group;  // the common name
  idx_t place = 0;    // of the group, in the order of its first run
  std::string kind;
  idx_t runs = 0;  // that have the metric
  std::vector<double> step, mean, low, high;
};

// Groups of runs whose names differ by digits alone. `names` has a name for each run. Curves
// without a common step are left out.
std::vector<GroupCurve> GroupRuns(const std::vector<RunLog>& runs,
                                  const std::vector<std::string>& names, const std::string& metric);

}  // namespace longspan::cli
