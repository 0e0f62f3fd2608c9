// Derivatives without subtraction: Im f(x + i h) / h is exact to rounding for analytic f (Squire,
// Trapp 1998). References are templates on their scalar so that they run on std::complex<double>.
#pragma once

#include <complex>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "longspan/types.h"

namespace longspan::test {

using Complex = std::complex<double>;

// loss: a real-analytic function of the inputs, evaluated on complex numbers.
// gradient: what the reference's backward says, d loss / d inputs, same length.
// Checks every input up to `most` of them (then an even sample that includes first and last) at
// |difference| <= tolerance * (1 + |derivative|). Returns "" or the first failure as text.
std::string CheckGradient(const std::function<Complex(std::span<const Complex>)>& loss,
                          std::span<const double> inputs, std::span<const double> gradient,
                          double tolerance = 1e-10, idx_t most = 400);

}  // namespace longspan::test
