#include "train/class_metrics.h"

#include <algorithm>
#include <cmath>

namespace longspan {
namespace {

double Ratio(idx_t part, idx_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::vector<ClassScore> ScoreClasses(const std::vector<std::string>& names,
                                     std::span<const std::uint8_t> truth,
                                     std::span<const std::uint8_t> predicted) {
  std::vector<ClassScore> scores(names.size());
  std::vector<idx_t> hits(names.size(), 0);
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const std::size_t k = i % names.size();
    scores[k].support += truth[i];
    scores[k].predicted += predicted[i];
    hits[k] += truth[i] & predicted[i];
  }
  for (std::size_t k = 0; k < names.size(); ++k) {
    ClassScore& s = scores[k];
    s.name = names[k];
    s.precision = Ratio(hits[k], s.predicted);
    s.recall = Ratio(hits[k], s.support);
    s.f1 = Ratio(2 * hits[k], s.predicted + s.support);
  }
  return scores;
}

double MacroF1(const std::vector<ClassScore>& classes) {
  double sum = 0.0;
  idx_t count = 0;
  for (const ClassScore& s : classes) {
    if (s.support + s.predicted == 0) continue;
    sum += s.f1;
    ++count;
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count);
}

double Pearson(std::span<const float> a, std::span<const float> b) {
  const auto n = static_cast<double>(a.size());
  double mean_a = 0.0, mean_b = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    mean_a += static_cast<double>(a[i]) / n;
    mean_b += static_cast<double>(b[i]) / n;
  }
  double ab = 0.0, aa = 0.0, bb = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double da = static_cast<double>(a[i]) - mean_a, db = static_cast<double>(b[i]) - mean_b;
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return ab / std::sqrt(aa * bb);
}

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

}  // namespace longspan
