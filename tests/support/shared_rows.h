// Steps whose rows several ranks share, beside the step of one rank. The ranks are threads.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "longspan/context.h"
#include "model/parameters.h"
#include "tests/support/thread_world.h"
#include "world/row_group.h"

namespace longspan::test {

// What a step leaves: the gradients of all parameters, one behind the other, and a loss.
struct StepResult {
  std::vector<float> gradients;
  double loss = 0.0;
};
// A step on a model of its own, with this context.
using StepOnRank = std::function<StepResult(Context& context)>;

// The step by `ranks` ranks that share the rows: their gradients are added in the order of the
// ranks. All must have the same loss. A rank has one thread or two.
inline StepResult SharedStep(int ranks, const StepOnRank& step) {
  std::vector<StepResult> parts(static_cast<std::size_t>(ranks));
  OnRanks(ranks, [&](World& world) {
    Context context(1 + world.rank() % 2);
    RowGroup group(world, ranks);
    context.SplitRows(&group);
    parts[static_cast<std::size_t>(world.rank())] = step(context);
  });
  StepResult sum = parts[0];
  for (std::size_t r = 1; r < parts.size(); ++r) {
    EXPECT_EQ(parts[r].loss, sum.loss) << "rank " << r;
    for (std::size_t i = 0; i < sum.gradients.size(); ++i) {
      sum.gradients[i] += parts[r].gradients[i];
    }
  }
  return sum;
}

// Weights as sums in another order may have moved them: each is off by up to n 2^-24 of itself,
// what a naive sum of n terms may err in fp32. `key`: which way each goes.
inline void Nudge(ParameterTable& table, idx_t n, std::uint64_t key) {
  Rng rng(key);
  const ParameterWriter writer = table.Write();
  const View<float, 1> values = writer.values();
  for (idx_t i = 0; i < values.size(); ++i) {
    const double way = 2.0 * rng.Uniform() - 1.0;
    values(i) *= static_cast<float>(1.0 + way * static_cast<double>(n) * 0x1p-24);
  }
}

inline double LargestOf(std::span<const float> values) {
  float most = 0.0f;
  for (const float value : values) most = std::max(most, std::abs(value));
  return static_cast<double>(most);
}
inline double LargestDifference(std::span<const float> a, std::span<const float> b) {
  double most = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double apart = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    most = std::isfinite(apart) ? std::max(most, apart) : HUGE_VAL;
  }
  return most;
}

// The largest difference of a tensor's gradients, in units of what a naive sum over the `tokens`
// may err in fp32: what it adds to the tensor itself, n 2^-24 of its largest gradient, or of a
// tenth of the largest of all where terms cancel; and what reaches the tensor from such errors
// elsewhere, as steps with nudged weights show.
inline double NaiveErrors(const ParameterTable& table, const StepResult& one,
                          const StepResult& shared, std::span<const StepResult> nudged,
                          idx_t tokens, std::string* worst = nullptr) {
  const double all = LargestOf(one.gradients);
  double most = 0.0;
  for (const ParameterInfo& info : table.list()) {
    const auto part = [&](const StepResult& step) {
      return std::span(step.gradients)
          .subspan(static_cast<std::size_t>(info.offset), static_cast<std::size_t>(info.size));
    };
    double unit = static_cast<double>(tokens) * 0x1p-24 * std::max(LargestOf(part(one)), 0.1 * all);
    double moved = 0.0;
    for (const StepResult& step : nudged) {
      moved = std::max(moved, LargestDifference(part(one), part(step)));
    }
    unit += moved;
    const double errors = LargestDifference(part(one), part(shared)) / unit;
    if (errors <= most) continue;
    most = errors;
    if (worst != nullptr) *worst = info.name;
  }
  return most;
}

// Loss and all gradients are those of one rank, within twice what a naive order of sums may err.
inline void ExpectSameStep(const ParameterTable& table, const StepResult& one,
                           const StepResult& shared, std::span<const StepResult> nudged,
                           idx_t tokens) {
  ASSERT_EQ(one.gradients.size(), shared.gradients.size());
  double moved = static_cast<double>(tokens) * 0x1p-24 * std::abs(one.loss);
  for (const StepResult& step : nudged) moved = std::max(moved, std::abs(step.loss - one.loss));
  EXPECT_NEAR(shared.loss, one.loss, 2.0 * moved);
  std::string worst;
  EXPECT_LE(NaiveErrors(table, one, shared, nudged, tokens, &worst), 2.0) << worst;
}

}  // namespace longspan::test
