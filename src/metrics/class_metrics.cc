#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/errors.h"
#include "longspan/metrics.h"
#include "metrics/compensated_sum.h"
#include "metrics/shares.h"

namespace longspan {

ShareInterval WilsonInterval(idx_t hits, idx_t trials) {
  if (trials == 0) return {};
  constexpr double kZ = 1.959963984540054;  // 97.5 % quantile of the normal distribution
  const auto n = static_cast<double>(trials);
  const double share = static_cast<double>(hits) / n, z2 = kZ * kZ;
  const double centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
  const double half =
      kZ / (1.0 + z2 / n) * std::sqrt(share * (1.0 - share) / n + z2 / (4.0 * n * n));
  return {std::max(0.0, centre - half), std::min(1.0, centre + half)};
}

namespace metrics {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();

AverageScore Micro(std::span<const ClassScore> classes) {
  idx_t hits = 0, support = 0, predicted = 0;
  for (const ClassScore& s : classes) {
    hits += s.hits;
    support += s.support;
    predicted += s.predicted;
  }
  return {ShareOf(hits, predicted), ShareOf(hits, support), ShareOf(2 * hits, predicted + support)};
}

// How many rows of each kind have scores of at least a threshold.
struct Step {
  idx_t hits = 0, misses = 0;
};

// From the highest score down, all rows of one score at once.
std::vector<Step> StepsOf(std::span<const std::uint8_t> truth, std::span<const double> scores) {
  Check(truth.size() == scores.size(), ErrorCode::kUsage, "metrics: {} labels for {} scores",
        truth.size(), scores.size());
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (const std::size_t i : order) {
    Check(!std::isnan(scores[i]), ErrorCode::kNumeric, "metrics: score {} is NaN", i);
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  std::vector<Step> steps;
  Step now;
  for (std::size_t i = 0; i < order.size(); ++i) {
    ++(truth[order[i]] != 0 ? now.hits : now.misses);
    const bool last = i + 1 == order.size() || scores[order[i + 1]] != scores[order[i]];
    if (last) steps.push_back(now);
  }
  return steps;
}

using BinaryMeasure = double (*)(std::span<const std::uint8_t>, std::span<const double>);
enum class Labels { kAll, kWithARow };

// 0 where there is no label to take the mean over.
double MeanOverLabels(BinaryMeasure measure, Labels which, std::span<const std::uint8_t> truth,
                      std::span<const double> scores, idx_t labels) {
  const auto width = static_cast<std::size_t>(std::max<idx_t>(labels, 1));
  Check(labels >= 1 && truth.size() == scores.size() && truth.size() % width == 0,
        ErrorCode::kUsage, "metrics: {} truths and {} scores are no rows of {} labels",
        truth.size(), scores.size(), labels);
  CompensatedSum sum;
  std::vector<std::uint8_t> has(truth.size() / width);
  std::vector<double> column(has.size());
  idx_t counted = 0;
  for (std::size_t k = 0; k < width; ++k) {
    for (std::size_t r = 0; r < has.size(); ++r) {
      has[r] = truth[r * width + k];
      column[r] = scores[r * width + k];
    }
    const double value = measure(has, column);  // checks the scores of all labels
    if (which == Labels::kWithARow && std::count(has.begin(), has.end(), 0) == std::ssize(has)) {
      continue;
    }
    sum.Add(value);
    ++counted;
  }
  return counted == 0 ? 0.0 : sum.value() / static_cast<double>(counted);
}

}  // namespace

std::vector<ClassScore> ScoreClasses(const std::vector<std::string>& names,
                                     std::span<const std::uint8_t> truth,
                                     std::span<const std::uint8_t> predicted) {
  Check(truth.size() == predicted.size() &&
            (names.empty() ? truth.empty() : truth.size() % names.size() == 0),
        ErrorCode::kUsage, "metrics: {} truths and {} predictions are no rows of {} labels",
        truth.size(), predicted.size(), names.size());
  std::vector<ClassScore> scores(names.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    ClassScore& s = scores[i % names.size()];
    s.support += truth[i] != 0 ? 1 : 0;
    s.predicted += predicted[i] != 0 ? 1 : 0;
    s.hits += truth[i] != 0 && predicted[i] != 0 ? 1 : 0;
  }
  for (std::size_t k = 0; k < names.size(); ++k) {
    ClassScore& s = scores[k];
    s.name = names[k];
    FillShares(s);
  }
  return scores;
}

AverageScore AverageOf(std::span<const ClassScore> classes, Average average) {
  if (average == Average::kMicro) return Micro(classes);
  CompensatedSum precision, recall, f1;
  idx_t weights = 0;
  for (const ClassScore& s : classes) {
    const idx_t weight =
        average == Average::kWeighted ? s.support : (s.support + s.predicted > 0 ? 1 : 0);
    const auto w = static_cast<double>(weight);
    precision.Add(w * s.precision);
    recall.Add(w * s.recall);
    f1.Add(w * s.f1);
    weights += weight;
  }
  if (weights == 0) return {};
  const auto all = static_cast<double>(weights);
  return {precision.value() / all, recall.value() / all, f1.value() / all};
}

double Accuracy(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted) {
  Check(truth.size() == predicted.size(), ErrorCode::kUsage,
        "metrics: {} true classes for {} predicted ones", truth.size(), predicted.size());
  if (truth.empty()) return kUndefined;
  idx_t hits = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) hits += truth[i] == predicted[i] ? 1 : 0;
  return ShareOf(hits, static_cast<idx_t>(truth.size()));
}

double MatthewsCorrelation(std::span<const ClassScore> classes) {
  // Products of counts are exact in double up to 94 million rows.
  double rows = 0.0, hits = 0.0, both = 0.0, support = 0.0, predicted = 0.0;
  for (const ClassScore& s : classes) {
    const auto t = static_cast<double>(s.support), p = static_cast<double>(s.predicted);
    rows += t;
    hits += static_cast<double>(s.hits);
    both += t * p;
    support += t * t;
    predicted += p * p;
  }
  const double spread = (rows * rows - predicted) * (rows * rows - support);
  return spread == 0.0 ? 0.0 : (hits * rows - both) / std::sqrt(spread);
}

double RocAuc(std::span<const std::uint8_t> truth, std::span<const double> scores) {
  const std::vector<Step> steps = StepsOf(truth, scores);
  if (steps.empty() || steps.back().hits == 0 || steps.back().misses == 0) return kUndefined;
  // Twice the number of pairs in the right order: a whole number, so the sum is exact.
  CompensatedSum twice;
  Step before;
  for (const Step& step : steps) {
    twice.Add(static_cast<double>(step.misses - before.misses) *
              static_cast<double>(step.hits + before.hits));
    before = step;
  }
  return twice.value() / 2.0 / static_cast<double>(before.hits) /
         static_cast<double>(before.misses);
}

double AveragePrecision(std::span<const std::uint8_t> truth, std::span<const double> scores) {
  const std::vector<Step> steps = StepsOf(truth, scores);
  if (steps.empty() || steps.back().hits == 0) return 0.0;
  CompensatedSum sum;
  idx_t before = 0;
  for (const Step& step : steps) {
    sum.Add(static_cast<double>(step.hits - before) * ShareOf(step.hits, step.hits + step.misses));
    before = step.hits;
  }
  return sum.value() / static_cast<double>(before);
}

double MacroRocAuc(std::span<const std::uint8_t> truth, std::span<const double> scores,
                   idx_t labels) {
  return MeanOverLabels(RocAuc, Labels::kAll, truth, scores, labels);
}

double MacroAveragePrecision(std::span<const std::uint8_t> truth, std::span<const double> scores,
                             idx_t labels) {
  return MeanOverLabels(AveragePrecision, Labels::kWithARow, truth, scores, labels);
}

}  // namespace metrics
}  // namespace longspan
