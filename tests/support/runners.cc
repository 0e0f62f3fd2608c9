#include "tests/support/runners.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/compare.h"

namespace longspan::test {

void ExpectSameBitsForAnyThreads(const std::function<std::vector<float>(Context&)>& compute) {
  std::vector<float> expected;
  int runs = 0;
  const auto run = [&](int threads) {
    Context context(threads);
    const std::vector<float> actual = compute(context);
    if (runs++ == 0) {
      expected = actual;
      const bool zero = std::ranges::all_of(expected, [](float value) { return value == 0.0f; });
      if (zero) ADD_FAILURE() << "nothing but zeros was computed: equal bits prove nothing";
      return !zero;
    }
    const Difference difference = CompareBits(actual, expected);
    if (!difference.ok) {
      ADD_FAILURE() << "with " << threads << " threads, run " << runs << ": " << difference.reason;
    }
    return difference.ok;
  };
  for (const int threads : kThreadCounts) {
    if (!run(threads)) return;
  }
  run(*(std::end(kThreadCounts) - 1));  // the same again: catches a race that the first run won
}

}  // namespace longspan::test
