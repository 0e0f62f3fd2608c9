// A sum in double whose rounding errors are carried along.
#pragma once

#include <cmath>

namespace longspan::metrics {

// Neumaier (1974): the error is one rounding of the result, whatever the number of terms and their
// order. A term that is not finite makes the sum what a plain one would be.
class CompensatedSum {
 public:
  void Add(double value) {
    const double next = sum_ + value;
    if (std::isfinite(next)) {
      lost_ += std::abs(sum_) >= std::abs(value) ? (sum_ - next) + value : (value - next) + sum_;
    }
    sum_ = next;
  }
  double value() const { return sum_ + lost_; }

 private:
  double sum_ = 0.0, lost_ = 0.0;
};

}  // namespace longspan::metrics
