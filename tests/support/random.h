// Inputs for tests: a pure function of the seed.
#pragma once

#include <vector>

#include "base/rng.h"

namespace longspan::test {

// N(0, stddev) values.
inline std::vector<float> RandomNormal(std::uint64_t seed, idx_t count, float stddev = 1.0f) {
  std::vector<float> values(static_cast<std::size_t>(count));
  FillNormal(seed, stddev, values.data(), count);
  return values;
}

inline std::vector<double> ToDouble(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

}  // namespace longspan::test
