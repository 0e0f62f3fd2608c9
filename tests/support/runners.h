// Running the same thing under other conditions: every thread count.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "longspan/context.h"

namespace longspan::test {

// Thread counts that every "same bits" test tries.
inline constexpr int kThreadCounts[] = {1, 2, 3, 7, 8};

// Calls compute(context) with each thread count, twice with the last one, and expects the same
// bits each time. compute returns everything that it computed, concatenated. Fails the running
// GoogleTest when they differ or when everything is zero.
void ExpectSameBitsForAnyThreads(const std::function<std::vector<float>(Context&)>& compute);

}  // namespace longspan::test
