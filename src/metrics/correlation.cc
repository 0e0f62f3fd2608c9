#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/errors.h"
#include "longspan/metrics.h"
#include "metrics/compensated_sum.h"

namespace longspan::metrics {
namespace {

template <typename T>
void CheckPairs(std::span<const T> a, std::span<const T> b) {
  Check(a.size() == b.size(), ErrorCode::kUsage, "metrics: {} numbers for {}", a.size(), b.size());
}

// Values minus their mean, over their length: a unit vector. Empty if they are constant or not all
// finite.
std::vector<double> UnitDeviations(std::span<const double> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const bool finite =
      std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
  if (!finite || *low == *high) return {};
  // By a power of two no value changes, and neither a square nor a sum leaves the range of double.
  int exponent = 0;
  std::frexp(std::max(std::abs(*low), std::abs(*high)), &exponent);
  std::vector<double> unit;
  CompensatedSum sum;
  for (const double value : values) {
    unit.push_back(std::ldexp(value, -exponent));
    sum.Add(unit.back());
  }
  const double mean = sum.value() / static_cast<double>(unit.size());
  double largest = 0.0;
  for (double& value : unit) largest = std::max(largest, std::abs(value -= mean));
  CompensatedSum squares;
  for (double& value : unit) {
    value /= largest;
    squares.Add(value * value);
  }
  const double length = std::sqrt(squares.value());
  for (double& value : unit) value /= length;
  return unit;
}

std::vector<double> Doubles(std::span<const float> values) {
  return {values.begin(), values.end()};
}

bool HasNan(std::span<const double> values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
}

}  // namespace

double Pearson(std::span<const double> a, std::span<const double> b) {
  CheckPairs(a, b);
  constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
  if (a.size() < 2) return kUndefined;
  const std::vector<double> x = UnitDeviations(a), y = UnitDeviations(b);
  if (x.empty() || y.empty()) return kUndefined;
  CompensatedSum product;
  for (std::size_t i = 0; i < x.size(); ++i) product.Add(x[i] * y[i]);
  return std::clamp(product.value(), -1.0, 1.0);
}

double Pearson(std::span<const float> a, std::span<const float> b) {
  return Pearson(std::span<const double>(Doubles(a)), std::span<const double>(Doubles(b)));
}

std::vector<double> MeanRanks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (const std::size_t i : order) {
    Check(!std::isnan(values[i]), ErrorCode::kNumeric, "metrics: value {} is NaN", i);
  }
  std::sort(order.begin(), order.end(),
            [&](std::size_t i, std::size_t j) { return values[i] < values[j]; });
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first + 1;
    while (end < order.size() && values[order[end]] == values[order[first]]) ++end;
    const double rank = 0.5 * static_cast<double>(first + 1 + end);
    for (; first < end; ++first) ranks[order[first]] = rank;
  }
  return ranks;
}

double Spearman(std::span<const double> a, std::span<const double> b) {
  CheckPairs(a, b);
  if (HasNan(a) || HasNan(b)) return std::numeric_limits<double>::quiet_NaN();
  return Pearson(MeanRanks(a), MeanRanks(b));
}

double Spearman(std::span<const float> a, std::span<const float> b) {
  return Spearman(std::span<const double>(Doubles(a)), std::span<const double>(Doubles(b)));
}

double MeanSquaredError(std::span<const float> a, std::span<const float> b) {
  CheckPairs(a, b);
  CompensatedSum sum;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum.Add(difference * difference);
  }
  return sum.value() / static_cast<double>(a.size());
}

}  // namespace longspan::metrics
