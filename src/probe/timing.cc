#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "longspan/machine.h"

namespace longspan {

double SecondsOf(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double MedianSeconds(idx_t repetitions, const std::function<void()>& work) {
  std::vector<double> seconds;
  for (idx_t i = 0; i < repetitions; ++i) seconds.push_back(SecondsOf(work));
  return Median(std::move(seconds));
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

}  // namespace longspan
