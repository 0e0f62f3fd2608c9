// Where time goes.
#pragma once

#include "probe/clock.h"

namespace longspan {

// Adds the seconds of its life to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double* sum) : sum_(sum) {}
  ~Stopwatch() { *sum_ += probe::Seconds() - begin_; }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double* sum_;
  double begin_ = probe::Seconds();
};

}  // namespace longspan
