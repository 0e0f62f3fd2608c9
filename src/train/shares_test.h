// What ranks that share sums of gradients have, put together.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "model/parameter_shares.h"
#include "train/gradient_exchange.h"

namespace longspan::test {

inline std::shared_ptr<const ParameterShares> SharesFor(
    const ParameterTable& table, int ranks, ParameterCut cut = ParameterCut::kAnywhere) {
  return std::make_shared<ParameterShares>(table, cut, ranks);
}

// Whether a message of this tag has updated weights.
inline bool IsOfWeights(int tag) {
  return tag < 3 * kTagsOfShares && tag % 3 == static_cast<int>(SharedTag::kWeights);
}

// Copies a rank's own sums into those of all, of shares.extent() numbers. What another rank owns
// must be zero here, but for edges.
inline void TakeOwn(const ParameterShares& shares, const ParameterTable& table, int rank,
                    std::vector<float>* all) {
  const float* const gradients = table.gradients().data;
  const auto is_edge = [&](const OwnedRange& sum) {
    return std::any_of(shares.edges().begin(), shares.edges().end(), [&](const SharedEdge& edge) {
      return edge.to == rank && edge.begin < sum.end && sum.begin < edge.end;
    });
  };
  for (const OwnedRange& sum : shares.sums()) {
    if (sum.owner == rank) {
      std::copy(gradients + sum.begin, gradients + sum.end, all->begin() + sum.begin);
    } else if (!is_edge(sum)) {
      EXPECT_TRUE(std::all_of(gradients + sum.begin, gradients + sum.end,
                              [](float x) { return x == 0.0f; }))
          << "rank " << rank << " has what rank " << sum.owner << " owns";
    }
  }
}

}  // namespace longspan::test
