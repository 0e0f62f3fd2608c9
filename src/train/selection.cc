#include "train/selection.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/errors.h"
#include "longspan/files.h"

namespace longspan {
namespace {

// All other metrics grow as a model gets better.
constexpr std::array<std::string_view, 4> kSmallerIsBetter = {"loss", "bits_per_byte", "mse",
                                                              "perplexity"};

}  // namespace

bool GreaterIsBetter(std::string_view metric) {
  return std::find(kSmallerIsBetter.begin(), kSmallerIsBetter.end(), metric) ==
         kSmallerIsBetter.end();
}

bool IsBetter(std::string_view metric, double value, double other) {
  return std::isfinite(value) && (GreaterIsBetter(metric) ? value > other : value < other);
}

double ValueOfMetric(const TrainOptions& options, double loss, double bits_per_byte,
                     const std::vector<TrainMetric>& metrics) {
  const std::string& name = options.selection.metric;
  if (name == "loss") return loss;
  if (name == "bits_per_byte") return bits_per_byte;
  std::vector<std::string> names;
  for (const TrainMetric& metric : metrics) {
    if (metric.name == name) return metric.value;
    names.push_back(metric.name);
  }
  CheckSelection(options, "of this task", names);  // throws: entry points have checked it
  return loss;
}

bool HasNoValue(double loss, double value) { return std::isfinite(loss) && !std::isfinite(value); }

void CheckSelection(const TrainOptions& options, std::string_view task,
                    const std::vector<std::string>& names) {
  const SelectionOptions& s = options.selection;
  std::string known = "loss";
  for (const std::string& name : names) known += ", " + name;
  Check(s.metric == "loss" || std::find(names.begin(), names.end(), s.metric) != names.end(),
        ErrorCode::kUsage, "metric: '{}' is unknown; train {} has {}", io::Escape(s.metric), task,
        known);
  Check(s.patience >= 0, ErrorCode::kUsage, "patience: {} is below 0", s.patience);
  Check(s.patience == 0 || options.checkpoints.eval_every > 0, ErrorCode::kUsage,
        "patience: {} evaluations never come with eval-every 0; let the run evaluate on the way",
        s.patience);
}

}  // namespace longspan
