// What torch's optimizers make of small tensors (tests/optimizers/PROVENANCE.md).
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "io/safetensors.h"
#include "tests/support/compare.h"
#include "tests/support/files.h"

namespace longspan::test {

struct RecordedUpdates {
  static constexpr idx_t kUpdates = 10;

  explicit RecordedUpdates(const std::string& name) {
    const auto file =
        io::SafetensorsFile::Open(kRoot / "tests" / "optimizers" / "torch.safetensors");
    shape = file.Info(name + ".before").shape;
    const Tensor weights = file.Read(name + ".before");
    before.assign(weights.data<float>(), weights.data<float>() + weights.size());
    const Tensor all = file.Read(name + ".gradients");
    for (idx_t update = 0; update < kUpdates; ++update) {
      const float* begin = all.data<float>() + update * weights.size();
      gradients.emplace_back(begin, begin + weights.size());
    }
    for (const auto& [after, when] : {std::pair{&after_1, ".after_1"}, {&after_10, ".after_10"}}) {
      const Tensor values = file.Read(name + when);
      const auto* begin = static_cast<const double*>(values.raw());
      after->assign(begin, begin + values.size());
    }
  }

  std::vector<idx_t> shape;
  std::vector<float> before;
  std::vector<std::vector<float>> gradients;  // of each update
  std::vector<double> after_1, after_10;      // the weights after so many updates
};

// The kernel's weights equal torch's within twice the error of naive fp32, and the reference in
// double equals them to its rounding. Each callable gives the weights after so many updates: the
// kernel's, the reference's in fp32, the reference's in double.
template <class Kernel, class Naive, class Exact>
void ExpectTorchs(const RecordedUpdates& recorded, const Kernel& kernel, const Naive& naive,
                  const Exact& exact) {
  for (const auto& [updates, expected] :
       {std::pair{idx_t{1}, &recorded.after_1}, {RecordedUpdates::kUpdates, &recorded.after_10}}) {
    SCOPED_TRACE(updates);
    const std::vector<double> reference = exact(updates);
    for (std::size_t i = 0; i < expected->size(); ++i) {
      EXPECT_NEAR(reference[i], (*expected)[i], 1e-12 * (1.0 + std::abs((*expected)[i])));
    }
    const std::vector<float> plain = naive(updates);
    EXPECT_MATCHES(kernel(updates), *expected, DerivedTolerance(plain, *expected, 2.0));
  }
}

}  // namespace longspan::test
