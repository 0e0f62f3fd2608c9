#include "tests/support/gradcheck.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace longspan::test {
namespace {

// Nothing is subtracted, so the step may be so small that its square vanishes beside 1.
constexpr double kStep = 1e-20;

}  // namespace

std::string CheckGradient(const std::function<Complex(std::span<const Complex>)>& loss,
                          std::span<const double> inputs, std::span<const double> gradient,
                          double tolerance, idx_t most) {
  const auto count = static_cast<idx_t>(inputs.size());
  if (count == 0) return "no inputs";
  if (gradient.size() != inputs.size()) {
    return fmt::format("{} inputs, {} gradients", inputs.size(), gradient.size());
  }
  if (most < 2) return fmt::format("a sample of {} inputs proves nothing", most);
  std::vector<Complex> point(inputs.begin(), inputs.end());
  const idx_t checks = std::min(count, most);
  double largest = 0.0;
  for (idx_t check = 0; check < checks; ++check) {
    const idx_t i = checks == count ? check : check * (count - 1) / (checks - 1);
    const auto at = static_cast<std::size_t>(i);
    point[at] = Complex(inputs[at], kStep);
    const double derivative = loss(point).imag() / kStep;
    point[at] = Complex(inputs[at], 0.0);
    // Written so that NaN on either side fails.
    if (!(std::abs(derivative - gradient[at]) <= tolerance * (1.0 + std::abs(derivative)))) {
      return fmt::format("input {} of {} ({:g}): gradient {:.15g}, complex step says {:.15g}", i,
                         count, inputs[at], gradient[at], derivative);
    }
    largest = std::max(largest, std::abs(derivative));
  }
  if (largest == 0.0) return "every derivative is zero: the check proves nothing";
  return {};
}

}  // namespace longspan::test
